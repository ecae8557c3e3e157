"""What is compared: the trials, in words that every peer understands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Trial:
    """So many requests at once, each a prompt and an answer of these lengths.

    `counts` is what a figure is made of: the tokens of "answers" or of "prompts" a second, the peak "memory" in bytes,
    the seconds to the "first" token of a process that has just been started, or the tokens of answers a second that
    clients of a server get "served": of several over all time, of one from its first token on.
    """

    name: str
    about: str
    counts: str
    prompt: int
    answer: int
    requests: int = 1

    @property
    def unit(self) -> str:
        return {"memory": "bytes", "first": "s"}.get(self.counts, "tokens/s")

    @property
    def less_is_better(self) -> bool:
        return self.counts in ("memory", "first")

    @property
    def longest(self) -> int:
        """Tokens of all requests together, which a cache must hold."""
        return self.requests * (self.prompt + self.answer + 1)


TRIALS: Final[Mapping[str, Trial]] = {
    trial.name: trial
    for trial in (
        Trial("decode", "one request, 128 tokens of answer", "answers", 16, 128),
        Trial("prompt-512", "one prompt of 512 tokens", "prompts", 512, 1),
        Trial("prompt-2048", "one prompt of 2048 tokens", "prompts", 2048, 1),
        Trial("batch-16", "16 requests of 128 + 128 tokens, answers over all time", "answers", 128, 128, 16),
        Trial("batch-32", "32 requests of 128 + 128 tokens, answers over all time", "answers", 128, 128, 32),
        Trial("memory", "peak of a process that answers one request", "memory", 16, 128),
        Trial("served-1", "one stream of 128 tokens from a server, after the first", "served", 16, 128),
        Trial(
            "served-32", "32 streams of 128 + 128 tokens from a server, answers over all time", "served", 128, 128, 32
        ),
        Trial("first-token", "from the start of a process to its first token", "first", 16, 1),
    )
}

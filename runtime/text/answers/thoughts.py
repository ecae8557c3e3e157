"""The marks that families put around what a model thinks before it speaks."""

from dataclasses import dataclass
from typing import Final, TypeAlias

Pair: TypeAlias = tuple[str, str]

PAIRS: Final[tuple[Pair, ...]] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
)
FRAME: Final[Pair] = ("<response>", "</response>")  # Granite's, around what it says after it has thought
SWITCH: Final = "enable_thinking"  # a template that has the switch without the marks means the usual ones


@dataclass(frozen=True, slots=True)
class ThoughtMarks:
    """Those of one model. `frame` are marks around what is said, which are no part of it."""

    pairs: tuple[Pair, ...] = ()
    frame: tuple[str, ...] = ()

    @classmethod
    def shown_by(cls, template: str) -> "ThoughtMarks":
        pairs = tuple(pair for pair in PAIRS if pair[0] in template or pair[1] in template)
        if not pairs and SWITCH in template:
            pairs = PAIRS[:1]
        return cls(pairs, FRAME if pairs and FRAME[0] in template else ())

    def begun(self, text: str) -> Pair | None:
        """The marks of the thought that `text` begins with."""
        return next((pair for pair in self.pairs if text.startswith(pair[0])), None)

    def may_begin(self, text: str) -> bool:
        return any(opening.startswith(text) for opening, _ in self.pairs)

    def open_at_end(self, prompt: str) -> str | None:
        """How the thought ends that a prompt has begun; None where it has not."""
        prompt = prompt.rstrip()
        return next((closing for opening, closing in self.pairs if prompt.endswith(opening.rstrip())), None)

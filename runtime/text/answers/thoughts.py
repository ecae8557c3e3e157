"""The marks that families put around what a model thinks before it speaks."""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

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
OTHER_SWITCH: Final = "thinking"  # DeepSeek's, Granite's and Kimi's name for it


def wished(think: bool | str | None, effort: str | None = None) -> dict[str, Any]:
    """The variables by which templates know whether to have the model think, and how hard: a `think` that is text says
    both. None: as they like.
    """
    effort = think if isinstance(think, str) else effort
    switches = {} if think is None else {SWITCH: bool(think), OTHER_SWITCH: bool(think)}
    return switches if effort is None else {**switches, "reasoning_effort": effort}


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

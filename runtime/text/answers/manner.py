"""How one model writes answers: what its chat template shows of it. There is no switch for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .argument_tags import ARGUMENT_TAGS
from .calls import CallStyle
from .deepseek import DEEPSEEK, DEEPSEEK_FENCED
from .function_tags import FUNCTION_TAGS, SEED
from .functionary import FUNCTIONARY
from .gemma import FUNCTION_GEMMA, GEMMA
from .granite import GRANITE
from .harmony import HARMONY, MARKS, HarmonyReader
from .hermes import HERMES
from .invoke_tags import DSML_V3, DSML_V4, MINIMAX
from .kimi import KIMI
from .lists import APRIEL, COMMAND, NEMOTRON
from .llama import LLAMA
from .mistral import MISTRAL, MISTRAL_MARKED
from .phi import PHI
from .reading import MarkedReader
from .said import AnswerReader
from .thoughts import ThoughtMarks
from .tools import function, name

# The first that a template shows: those that share a mark with others stand before them.
STYLES: Final = (
    HARMONY,
    *(DEEPSEEK_FENCED, DEEPSEEK, DSML_V3, DSML_V4, MINIMAX, KIMI, MISTRAL_MARKED, MISTRAL),
    *(GEMMA, FUNCTION_GEMMA, SEED, FUNCTION_TAGS, ARGUMENT_TAGS, APRIEL, HERMES),
    *(PHI, GRANITE, COMMAND, NEMOTRON, FUNCTIONARY, LLAMA),
)


@dataclass(frozen=True, slots=True)
class Manner:
    """`calls` None: nothing is known of how it calls tools."""

    calls: CallStyle | None = None
    thoughts: ThoughtMarks = field(default_factory=ThoughtMarks)

    @classmethod
    def shown_by(cls, template: str) -> "Manner":
        calls = next((style for style in STYLES if style.is_shown_by(template)), None)
        return cls(calls, ThoughtMarks.shown_by(template))

    @property
    def thinks(self) -> bool:
        return bool(self.thoughts.pairs) or self.calls is HARMONY

    def marks(self, *, calls: bool) -> tuple[str, ...]:
        """What a reader must get to see, also where it is a token that is no text; `calls`: those of calls too."""
        if self.calls is HARMONY:
            return MARKS
        style = self.calls if calls else None
        of_calls = () if style is None else (*style.openings, *filter(None, [style.closing]), *style.inner)
        return (*of_calls, *(mark for pair in self.thoughts.pairs for mark in pair), *self.thoughts.frame)

    def reader(
        self,
        prompt: str,
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        one_call: bool = False,
        must: bool = False,
        in_parts: bool = False,
    ) -> AnswerReader:
        """What reads an answer to `prompt`, of which the end is enough.

        Calls are looked for where `tools` are offered; with `one_call` the answer is over with its first, and it `must`
        be calls where a grammar holds it to that. `in_parts`: calls are told as they are written, where they can be.
        """
        schemas = {name(tool): function(tool).get("parameters") or {} for tool in tools}
        if self.calls is HARMONY:
            return HarmonyReader(bool(tools), schemas, one_call, must, in_parts)
        style = self.calls if tools else None
        inside = self.thoughts.open_at_end(prompt)
        return MarkedReader(self.thoughts, style, schemas, inside, one_call, must, in_parts)

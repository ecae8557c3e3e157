"""How the answers to one prompt are read: what reads each, and which tokens it must get to see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..tokenizer import Tokenizer
from .harmony import HARMONY
from .manner import Manner
from .said import AnswerReader
from .tools import Tools

PROMPT_TAIL = 32  # tokens: enough for the mark of a thought that the prompt begins


@dataclass(frozen=True, slots=True)
class Hearing:
    """Each answer has a `reader` of its own. `kept` are tokens that are no text and yet reach it. `ends_early`: it may
    see that an answer is over before the model does.
    """

    reader: Callable[[], AnswerReader]
    kept: frozenset[int]
    ends_early: bool


def hearing(manner: Manner, tokenizer: Tokenizer, prompt: Sequence[int], tools: Tools) -> Hearing | None:
    """None where all of an answer is words."""
    if not manner.thinks and not tools.offered:
        return None
    tail = tokenizer.decode(prompt[-PROMPT_TAIL:], skip_special=False)
    marks = manner.marks(calls=bool(tools.offered))
    kept = frozenset(
        token
        for name, token in tokenizer.added_tokens.items()
        if name and tokenizer.is_special(token) and any(name in mark for mark in marks)
    )
    one_call = bool(tools.offered) and not tools.parallel
    ends_early = one_call or manner.calls is HARMONY
    how = {"one_call": one_call, "must": tools.must, "in_parts": tools.in_parts}
    return Hearing(partial(manner.reader, tail, tools.offered, **how), kept, ends_early)

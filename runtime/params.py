"""What a caller may ask of a generation, and the values that a model's own defaults fill in."""

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from .errors import InvalidParameter
from .grammar.forms import Form, check_form, choices, read_form, schema_text

MOST_ANSWERS = 1024  # of one prompt; beyond, it is a slip or an attack


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    A field left as it is takes the model's own default (its generation_config), else the plain one: temperature 1,
    no top-k, top-p 1, min-p 0, no limit but the context. `temperature=0` is greedy. `logprobs` asks for that many
    alternatives beside each chosen token (0: the chosen one alone), `prompt_logprobs` the same for the prompt's tokens.
    `n` answers are made of each prompt. A value out of range raises `InvalidParameter`.

    The order is repetition penalty, presence and frequency penalty, bias, temperature, top-k, top-p, min-p, typical-p.
    The repetition penalty counts the prompt, the other two only what was chosen. The borders are defined: a temperature
    below 1e-6 is greedy, `top_k` of 0 or -1 is off and one above the vocabulary keeps all of it, `top_p=0` keeps the
    likeliest token, `min_p=1` the likeliest and its equals, `typical_p=0` the most typical and its equals.

    One of the last four may say what the answer must look like, every token of it: a JSON `schema` (text, or a mapping,
    which becomes text here), a `regex` for the whole of it, a `choice` of texts, a `grammar` in the language of Lark or
    of GBNF. Such an answer ends where that is complete, or at `max_tokens`.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    n: int = 1
    ignore_eos: bool = False
    schema: str | Mapping[str, Any] | None = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None

    def __post_init__(self) -> None:
        for name, kind, low, high, allowed in _RANGES:
            value = getattr(self, name)
            if (value is not None or name == "n") and not _within(value, kind, low, high):
                raise InvalidParameter(name, value, allowed)
        if self.repetition_penalty == 0:
            raise InvalidParameter("repetition_penalty", 0, "above 0")
        if not _is_list(self.stop) or not all(isinstance(text, str) and text for text in self.stop_strings):
            raise InvalidParameter("stop", self.stop, "text that is not empty, or a list of such")
        ids = self.stop_token_ids
        if isinstance(ids, str) or not _is_list(ids) or not all(_within(token, int, 0, math.inf) for token in ids):
            raise InvalidParameter("stop_token_ids", self.stop_token_ids, "a list of token ids")
        if not isinstance(self.ignore_eos, bool):
            raise InvalidParameter("ignore_eos", self.ignore_eos, "true or false")
        if not _is_bias(self.logit_bias):
            raise InvalidParameter("logit_bias", self.logit_bias, "token ids with a number between -100 and 100 each")
        object.__setattr__(self, "schema", schema_text(self.schema))  # as text it can be compared, and sent
        object.__setattr__(self, "choice", choices(self.choice))
        for name in ("regex", "grammar"):
            if not isinstance(getattr(self, name), str | None):
                raise InvalidParameter(name, getattr(self, name), "text")
        if self.form is not None:
            check_form(self.form)

    @property
    def form(self) -> Form | None:
        """What the answer must look like, if anything."""
        return read_form(schema_text(self.schema), self.regex, self.choice, self.grammar)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """`stop` as a tuple, whichever way it was given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def over(self, defaults: Mapping[str, Any]) -> Self:
        """These parameters, with what the caller left as it is filled from `defaults` where they have a value."""
        left = [field.name for field in fields(self) if getattr(self, field.name) == field.default]
        return replace(self, **{name: defaults[name] for name in left if name in defaults})


def _within(value: object, kind: type, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    if kind is float and isinstance(value, int):
        high = min(high, sys.float_info.max)  # beyond, a whole number is none that can be computed with
    return low <= value <= high and (isinstance(value, int) or math.isfinite(value))


def _is_list(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, Mapping)


def _is_bias(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    return all(_within(token, int, 0, math.inf) and _within(bias, float, -100, 100) for token, bias in value.items())


_RANGES: tuple[tuple[str, type, float, float, str], ...] = (
    ("max_tokens", int, 0, math.inf, "a whole number, 0 or more"),
    ("temperature", float, 0, math.inf, "a number, 0 or more"),
    ("top_k", int, -1, math.inf, "a whole number; 0 or -1 for no limit"),
    ("top_p", float, 0, 1, "between 0 and 1"),
    ("min_p", float, 0, 1, "between 0 and 1"),
    ("typical_p", float, 0, 1, "between 0 and 1"),
    ("repetition_penalty", float, 0, math.inf, "above 0"),
    ("presence_penalty", float, -2, 2, "between -2 and 2"),
    ("frequency_penalty", float, -2, 2, "between -2 and 2"),
    ("seed", int, -(2**63), 2**63 - 1, "a whole number of at most 64 bits, its sign among them"),
    ("logprobs", int, 0, math.inf, "a whole number, 0 or more"),
    ("prompt_logprobs", int, 0, math.inf, "a whole number, 0 or more"),
    ("n", int, 1, MOST_ANSWERS, f"a whole number between 1 and {MOST_ANSWERS}"),
)

"""What a caller may ask of a generation, and the values that a model's own defaults fill in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from .errors import InvalidParameter


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    A field left at None takes the model's own default (its generation_config), else the plain one: temperature 1,
    no top-k, top-p 1, min-p 0, no limit but the context. `temperature=0` is greedy. `logprobs` asks for that many
    alternatives beside each chosen token (0: the chosen one alone). A value out of range raises `InvalidParameter`.

    The order is penalty, temperature, top-k, top-p, min-p. The borders are defined: a temperature below 1e-6 is greedy,
    `top_k` of 0 or -1 is off and one above the vocabulary keeps all of it, `top_p=0` keeps the likeliest token,
    `min_p=1` the likeliest and its equals.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    logprobs: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for name, kind, low, high, allowed in _RANGES:
            value = getattr(self, name)
            if value is not None and not _within(value, kind, low, high):
                raise InvalidParameter(name, value, allowed)
        if self.repetition_penalty == 0:
            raise InvalidParameter("repetition_penalty", 0, "above 0")
        if not all(isinstance(text, str) and text for text in self.stop_strings):
            raise InvalidParameter("stop", self.stop, "text that is not empty, or a list of such")
        if not all(_within(token, int, 0, math.inf) for token in self.stop_token_ids):
            raise InvalidParameter("stop_token_ids", self.stop_token_ids, "a list of token ids")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """`stop` as a tuple, whichever way it was given."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def over(self, defaults: Mapping[str, Any]) -> Self:
        """These parameters, with every None filled from `defaults` where it has a value."""
        unset = {f.name: defaults[f.name] for f in fields(self) if getattr(self, f.name) is None and f.name in defaults}
        return replace(self, **unset)


def _within(value: object, kind: type, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return math.isfinite(value) and low <= value <= high


_RANGES: tuple[tuple[str, type, float, float, str], ...] = (
    ("max_tokens", int, 0, math.inf, "a whole number, 0 or more"),
    ("temperature", float, 0, math.inf, "a number, 0 or more"),
    ("top_k", int, -1, math.inf, "a whole number; 0 or -1 for no limit"),
    ("top_p", float, 0, 1, "between 0 and 1"),
    ("min_p", float, 0, 1, "between 0 and 1"),
    ("repetition_penalty", float, 0, math.inf, "above 0"),
    ("seed", int, -math.inf, math.inf, "a whole number"),
    ("logprobs", int, 0, math.inf, "a whole number, 0 or more"),
)

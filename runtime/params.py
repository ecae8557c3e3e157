"""What a caller may ask of a generation, and the values that a model's own defaults fill in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens and when to stop.

    A field left at None takes the model's own default (its generation_config), else the plain one: temperature 1,
    no top-k, top-p 1, min-p 0, no limit but the context. `temperature=0` is greedy. `logprobs` asks for that many
    alternatives beside each chosen token (0: the chosen one alone).
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    logprobs: int | None = None
    ignore_eos: bool = False

    def over(self, defaults: Mapping[str, Any]) -> Self:
        """These parameters, with every None filled from `defaults` where it has a value."""
        unset = {f.name: defaults[f.name] for f in fields(self) if getattr(self, f.name) is None and f.name in defaults}
        return replace(self, **unset)

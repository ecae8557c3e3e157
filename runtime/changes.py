"""Which tokens' scores one request changes before it chooses, and by how much. It knows no tensors.

A repetition penalty is a factor for all that was read or chosen; presence and frequency penalties are subtracted for
what was chosen; a bias is added to the tokens that it names.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from copy import copy
from typing import Self

from .params import SamplingParams


class Changes:
    """`factors` and `shifts` for each of `tokens`, kept current while more are chosen."""

    __slots__ = (
        *("_bias", "_chosen", "_frequency", "_places", "_presence", "_read", "_repetition"),
        *("factors", "shifts", "tokens"),
    )

    def __init__(self, params: SamplingParams, prompt: Iterable[int]) -> None:
        self._repetition = params.repetition_penalty or 1.0
        self._presence = params.presence_penalty or 0.0
        self._frequency = params.frequency_penalty or 0.0
        self._bias = dict(params.logit_bias or {})
        self._chosen: Counter[int] = Counter()
        self._places: dict[int, int] = {}
        self.tokens = array("q")
        self.factors = array("d")
        self.shifts = array("d")
        for token, bias in self._bias.items():
            self.shifts[self._place(token)] = bias
        self._read = set(prompt) if self._repetition != 1.0 else set()
        for token in self._read:
            self.factors[self._place(token)] = self._repetition

    @classmethod
    def of(cls, params: SamplingParams, prompt: Iterable[int]) -> Self | None:
        """The changes that `params` ask for; None when they ask for none."""
        penalised = (params.repetition_penalty or 1.0) != 1.0 or params.presence_penalty or params.frequency_penalty
        return cls(params, prompt) if penalised or params.logit_bias else None

    def saw(self, token: int) -> None:
        """Note a token that was chosen."""
        self._count(token, 1)

    def forget(self, token: int) -> None:
        """Take back that `token` was chosen, once."""
        self._count(token, -1)

    def copy(self) -> "Changes":
        """The same, to be changed by itself."""
        other = copy(self)
        other._chosen, other._places = self._chosen.copy(), self._places.copy()
        other.tokens, other.factors, other.shifts = self.tokens[:], self.factors[:], self.shifts[:]
        return other

    def _count(self, token: int, change: int) -> None:
        """From the count, not added up, so that what a token gets is the same whatever went before."""
        self._chosen[token] += change
        count, place = self._chosen[token], self._place(token)
        self.factors[place] = self._repetition if count or token in self._read else 1.0
        penalty = self._presence + self._frequency * count if count else 0.0
        self.shifts[place] = self._bias.get(token, 0.0) - penalty

    def _place(self, token: int) -> int:
        place = self._places.setdefault(token, len(self.tokens))
        if place == len(self.tokens):
            self.tokens.append(token)
            self.factors.append(1.0)
            self.shifts.append(0.0)
        return place

"""How the rows of a step choose, worked out before there are scores, and read after the next step was prepared.

The same odds as in `sampler.py`, as numbers that cross to the device beside the batch. What the sampler finds out by
looking (that a row's filters leave no more than the candidates it looked at) cannot be found out here without waiting:
where a row's top-k does not promise it, all of the vocabulary is looked at; a kernel that draws needs no such promise.
Penalties, biases and grammars are not known here: what they want to know is not known in time.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import noise
from ..drawing import EVERY_TOKEN, draw_among, draw_among_typical, pick, weights_of
from ..errors import NonFiniteLogits
from ..sampler import Chooser, Row, Sample, Unsampled


@dataclass(frozen=True, slots=True)
class SentOdds:
    """`odds` [5, rows] fp64: temperatures, shares, top-p, min-p, typical-p. `limits` are those of top-k, 0 for none."""

    odds: Tensor
    limits: Tensor
    is_typical: bool

    @property
    def temperatures(self) -> Tensor:
        return self.odds[0]

    @property
    def shares(self) -> Tensor:
        return self.odds[1]

    def top_k(self, vocabulary: int) -> Tensor:
        return self.limits.clamp(max=vocabulary).masked_fill(self.limits == 0, vocabulary)

    @property
    def top_p(self) -> Tensor:
        return self.odds[2]

    @property
    def min_p(self) -> Tensor:
        return self.odds[3]

    @property
    def typical_p(self) -> Tensor | None:
        return self.odds[4] if self.is_typical else None


class _Group(Protocol):
    """The `members` among the rows that are drawn alike."""

    @property
    def members(self) -> list[int]: ...

    def numbers(self, rows: Many[Row]) -> NDArray[np.int64]:
        """By what `rows`, which are its members, are drawn."""
        ...

    def draw(self, scores: Tensor, sent: Tensor) -> Tensor:
        """A token for each of them; `sent` are the numbers."""
        ...


@dataclass(frozen=True, slots=True)
class _ByNoise:
    """A kernel draws them."""

    members: list[int]

    def numbers(self, rows: Many[Row]) -> NDArray[np.int64]:
        return noise.packed([row.told for row in rows])

    def draw(self, scores: Tensor, sent: Tensor) -> Tensor:
        return noise.draw(scores, sent)


@dataclass(frozen=True, slots=True)
class _Alike:
    """They look at as many candidates. `only_typical`: no other filter is theirs; `is_typical`: this one is some's."""

    members: list[int]
    width: int
    only_typical: bool
    is_typical: bool

    def numbers(self, rows: Many[Row]) -> NDArray[np.int64]:
        choosers = [row.chooser for row in rows]
        odds = (
            [chooser.temperature for chooser in choosers],
            [row.chooser.uniform(row.place) for row in rows],
            *zip(*((chooser.top_p, chooser.min_p, chooser.typical_p) for chooser in choosers), strict=True),
        )
        limits = np.array([chooser.top_k for chooser in choosers], dtype=np.int64)
        return np.concatenate((limits, np.array(odds, dtype=np.float64).reshape(-1).view(np.int64)))

    def draw(self, scores: Tensor, sent: Tensor) -> Tensor:
        count = len(self.members)
        odds = SentOdds(sent[count:].view(torch.float64).view(5, -1), sent[:count], self.is_typical)
        weights = weights_of(scores, odds)
        if not self.width:
            return pick(weights, odds)
        among = draw_among_typical if self.only_typical else draw_among
        return among(weights, odds, min(self.width, weights.shape[-1]))[0]


class Choice:
    """A token for each of `rows`, chosen where their scores are; `by_noise` where a kernel can."""

    def __init__(self, rows: Many[Row], *, by_noise: bool = False) -> None:
        self._rows = rows
        self._groups = _groups(rows, by_noise)
        self._asked = [i for i, row in enumerate(rows) if row.chooser.logprobs is not None]

    @property
    def numbers(self) -> list[NDArray[np.int64]]:
        """What `choose` wants to find on the device."""
        drawn = [
            part
            for group in self._groups
            for part in (
                np.array(group.members, dtype=np.int64),
                group.numbers([self._rows[i] for i in group.members]),
            )
        ]
        return [*drawn, np.array(self._asked, dtype=np.int64)]

    def choose(self, logits: Tensor, sent: Many[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The tokens [rows] for `logits` [rows, vocabulary] fp32, and what there is to read. `sent` are the numbers."""
        best, tokens = logits.max(-1)
        for i, group in enumerate(self._groups):
            members, numbers = sent[2 * i : 2 * i + 2]
            if len(group.members) == len(tokens):
                tokens = group.draw(logits, numbers)
            else:
                tokens = tokens.index_copy(0, members, group.draw(logits.index_select(0, members), numbers))
        return tokens, [tokens, best, *self._logprobs(logits, tokens, sent[-1])]

    def read(self, left: Many[Tensor]) -> list[Sample | Unsampled]:
        """What was chosen, of what was left on the host; the error where a row's scores are not numbers."""
        samples = [Sample(token) for token in left[0].tolist()]
        if self._asked:
            for i, logprob, values, ids in zip(self._asked, *(part.tolist() for part in left[2:]), strict=True):
                count = self._rows[i].chooser.logprobs or 0
                samples[i] = Sample(samples[i].token, logprob, tuple(zip(ids[:count], values[:count], strict=True)))
        return [
            one if isfinite(largest) else NonFiniteLogits(row.place)
            for one, largest, row in zip(samples, left[1].tolist(), self._rows, strict=True)
        ]

    def _logprobs(self, logits: Tensor, tokens: Tensor, asked: Tensor) -> list[Tensor]:
        if not self._asked:
            return []
        some = logits if len(self._asked) == len(logits) else logits.index_select(0, asked)
        logprobs = some.log_softmax(-1)
        chosen = tokens if some is logits else tokens.index_select(0, asked)
        most = min(max(self._rows[i].chooser.logprobs or 0 for i in self._asked), logits.shape[-1])
        return [logprobs.gather(-1, chosen[:, None])[:, 0], *logprobs.topk(most, dim=-1)]


def _groups(rows: Many[Row], by_noise: bool) -> list[_Group]:
    """All rows that are drawn, by how."""
    drawn = [i for i, row in enumerate(rows) if row.chooser.temperature]
    noisy = [i for i in drawn if by_noise and rows[i].chooser.takes_noise]
    alike: dict[tuple[int, bool], list[int]] = {}
    for i in drawn:
        if not by_noise or not rows[i].chooser.takes_noise:
            alike.setdefault(_looks_at(rows[i].chooser), []).append(i)
    plain = [
        _Alike(members, *key, any(rows[i].chooser.typical_p < 1.0 for i in members))
        for key, members in sorted(alike.items())
    ]
    return [_ByNoise(noisy), *plain] if noisy else [*plain]


def _looks_at(chooser: Chooser) -> tuple[int, bool]:
    """How many candidates hold all that its filters leave, whatever the scores; and whether typical-p alone filters."""
    only_typical = chooser.width == EVERY_TOKEN
    is_promised = not chooser.width or 0 < chooser.top_k <= chooser.width
    return (chooser.width if is_promised else EVERY_TOKEN), only_typical

"""Chooses the next token of many sequences at once, from their scores.

The order is penalties, bias, temperature, top-k, top-p, min-p, typical-p, and then one uniform number a row picks from
what is left. That number is a function of the request's seed and of the token's place, so that a request chooses the
same whether it runs alone or among others, in one go or after it gave way. Nothing that a row yields depends on the
rows beside it. Where a device's kernel draws, it makes a number for each token itself, of the same two.

A grammar is asked last, whether what was chosen may come. Where it may not, the row chooses again, by another number,
from the scores of what may: without filters that is as likely to give each token as if it had been asked first.
"""

import hashlib
import secrets
from array import array
from collections.abc import Iterable, Sequence
from copy import copy
from math import isfinite
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..models.ops import gpu
from . import noise
from .changes import Changes
from .drawing import (
    CANDIDATES,
    EVERY_TOKEN,
    FEW_CANDIDATES,
    WIDER,
    draw_among,
    draw_among_typical,
    finest,
    pick,
    weights_of,
)
from .errors import GrammarFailed, NonFiniteLogits
from .grammar.guide import Guide
from .grammar.masks import Wanted, refuse
from .params import SamplingParams

GREEDY_BELOW = 1e-6
HOTTEST = 1e30  # beyond, fp32 has no number for it; all that the filters leave is as good as equal long before
BLOCK = 1 << 19  # scores at once on a CPU: what is made of them should stay in its caches


class Sample(NamedTuple):
    """A chosen token; where asked for, its logarithmic probability and the likeliest `top` with theirs, best first."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Chooser:
    """How one request chooses: its parameters with nothing left open, its seed, and the tokens whose scores change.

    `choice` tells apart the answers of one prompt and one seed; `guide` says which tokens may follow if not all may.
    """

    __slots__ = (
        *("changes", "choice", "guide", "logprobs", "min_p", "prompt_logprobs"),
        *("seed", "temperature", "top_k", "top_p", "typical_p"),
    )

    def __init__(
        self, params: SamplingParams, prompt: Iterable[int] = (), choice: int = 0, guide: Guide | None = None
    ) -> None:
        temperature = 1.0 if params.temperature is None else params.temperature
        self.temperature = min(temperature, HOTTEST) if temperature >= GREEDY_BELOW else 0.0
        self.top_k = max(params.top_k or 0, 0)
        self.top_p = 1.0 if params.top_p is None else params.top_p
        self.min_p = params.min_p or 0.0
        self.typical_p = 1.0 if params.typical_p is None else params.typical_p
        self.changes = Changes.of(params, prompt)
        self.logprobs = params.logprobs
        self.prompt_logprobs = params.prompt_logprobs
        self.seed = secrets.randbits(63) if params.seed is None else params.seed
        self.choice = choice
        self.guide = guide

    @property
    def width(self) -> int:
        """Among how many of the likeliest tokens to look for what the filters leave; 0 without filters."""
        if 0 < self.top_k <= FEW_CANDIDATES:
            return FEW_CANDIDATES
        if self.top_k or self.top_p < 1.0 or self.min_p:
            return CANDIDATES
        return EVERY_TOKEN if self.typical_p < 1.0 else 0

    @property
    def takes_likeliest(self) -> bool:
        """Nothing but the largest of the model's own scores is wanted."""
        return not self.temperature and self.changes is None and self.guide is None and self.logprobs is None

    @property
    def takes_noise(self) -> bool:
        """Whether a kernel can draw it, where a device has such a one."""
        return self.typical_p == 1.0

    def saw(self, token: int) -> None:
        """Note a token that was chosen."""
        if self.changes is not None:
            self.changes.saw(token)
        if self.guide is not None:
            self.guide.saw(token)

    def forget(self, token: int) -> None:
        """Take back that `token` was chosen."""
        if self.changes is not None:
            self.changes.forget(token)
        if self.guide is not None:
            self.guide.forget(token)

    @property
    def is_complete(self) -> bool:
        """Nothing may follow what was chosen."""
        return self.guide is not None and self.guide.is_complete

    def possible(self, guess: list[int]) -> list[int]:
        """As much of `guess` as may follow."""
        return guess if self.guide is None else guess[: self.guide.possible(guess)]

    def after(self, tokens: Sequence[int]) -> "Chooser":
        """How it will choose once it has seen `tokens` too, but for its guide: whom the row tells of them."""
        if self.changes is None or not tokens:
            return self
        later = copy(self)
        later.changes = self.changes.copy()
        for token in tokens:
            later.changes.saw(token)
        return later

    def silent(self) -> "Chooser":
        """The same without logarithmic probabilities."""
        if self.logprobs is None:
            return self
        other = copy(self)
        other.logprobs = None
        return other

    def uniform(self, place: int, *, again: bool = False) -> float:
        """A number in [0, 1) for the token at `place`, or another where it is chosen `again`."""
        key = f"{self.seed}:{place}:{self.choice}" if self.choice else f"{self.seed}:{place}"
        return (_digest(f"{key}:again" if again else key) >> 11) * 2.0**-53

    def noise(self, *, again: bool = False) -> int:
        """The seed of a kernel's noise, below 2**63; another one where a token is chosen `again`."""
        return _digest(f"noise:{self.seed}:{self.choice}:{again:d}") >> 1


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


class Row(NamedTuple):
    """Whose scores a row holds, and the place of the token to be chosen: how many tokens there are before it.

    The last of these may be `guessed`. Rows of one chooser stand together, and each guesses on from the one before.
    `again`: what was chosen first may not come.
    """

    chooser: Chooser
    place: int
    guessed: Sequence[int] = ()
    again: bool = False

    @property
    def told(self) -> noise.Told:
        """What a kernel is told to draw it by."""
        one = self.chooser
        return noise.Told(one.temperature, one.top_p, one.min_p, one.top_k, one.noise(again=self.again), self.place)


Unsampled: TypeAlias = NonFiniteLogits | GrammarFailed


def sample(logits: Tensor, rows: Sequence[Row]) -> list[Sample | Unsampled]:
    """A token for each row of `logits` [rows, vocabulary] fp32; the error where a row's scores are not numbers, or
    its guide fails.
    """
    if logits.device.type == "cpu" and all(row.chooser.takes_likeliest for row in rows):
        return _likeliest(logits, rows)
    best, likeliest = _largest(logits)
    scores = _changed(logits, [row.chooser for row in rows])
    tokens = _chosen(scores, likeliest if scores is logits else _largest(scores)[1], rows)
    refused = refuse(scores, _guided(tokens, rows))
    if refused.rows:
        again = [rows[i]._replace(again=True) for i in refused.rows]
        tokens[refused.rows] = _chosen(refused.scores, _largest(refused.scores)[1], again)
    samples = _with_logprobs(logits, tokens, rows)
    return [
        refused.failed.get(i) or (one if isfinite(largest) else NonFiniteLogits(row.place))
        for i, (one, largest, row) in enumerate(zip(samples, best.tolist(), rows, strict=True))
    ]


def _likeliest(logits: Tensor, rows: Sequence[Row]) -> list[Sample | Unsampled]:
    """The same of rows that want nothing else, on a CPU: the least that can be done between two steps."""
    scores = logits.numpy()
    return [
        Sample(token) if isfinite(scores.item(i, token)) else NonFiniteLogits(row.place)
        for i, (token, row) in enumerate(zip(scores.argmax(-1).tolist(), rows, strict=True))
    ]


def _chosen(scores: Tensor, likeliest: Tensor, rows: Sequence[Row]) -> Tensor:
    """The likeliest token of each row, or one by chance where its temperature says so."""
    drawn = [i for i, row in enumerate(rows) if row.chooser.temperature]
    if drawn:
        likeliest[drawn] = _draw(scores[drawn] if len(drawn) < len(rows) else scores, [rows[i] for i in drawn])
    return likeliest


def _guided(tokens: Tensor, rows: Sequence[Row]) -> list[Wanted]:
    """The tokens of rows that are held to a form."""
    if all(row.chooser.guide is None for row in rows):
        return []
    return [
        Wanted(i, token, guide, row.guessed)
        for i, (token, row) in enumerate(zip(tokens.tolist(), rows, strict=True))
        if (guide := row.chooser.guide) is not None
    ]


def _largest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest score of each row, NaN where there is one, and its place. On a CPU numpy is the faster."""
    if logits.device.type != "cpu":
        best, places = logits.max(-1)
        return best, places
    scores = logits.numpy()
    found = scores.argmax(-1)
    return torch.from_numpy(scores[np.arange(len(scores)), found]), torch.from_numpy(found)


def _changed(logits: Tensor, choosers: Sequence[Chooser]) -> Tensor:
    """What was seen becomes less likely, what is biased more or less: the scores as each request wants them.

    Positive scores are divided by the repetition penalty, negative ones multiplied; then the other penalties and the
    bias are added. The same tensor where nobody asks for it.
    """
    asking = [(i, chooser.changes) for i, chooser in enumerate(choosers) if chooser.changes is not None]
    if not any(len(changes.tokens) for _, changes in asking):
        return logits
    counts = [len(changes.tokens) for _, changes in asking]
    where = torch.from_numpy(np.repeat([i for i, _ in asking], counts)).to(logits.device)
    tokens = _joined([changes.tokens for _, changes in asking], np.int64).to(logits.device)
    factors = _joined([changes.factors for _, changes in asking], np.float64)
    shifts = _joined([changes.shifts for _, changes in asking], np.float64).to(logits)
    limits = torch.finfo(logits.dtype)
    factors = factors.clamp(limits.tiny, limits.max).to(logits)
    found = logits[where, tokens]
    scaled = torch.where(found < 0, found * factors, found / factors).clamp(-limits.max, limits.max)
    changed = logits.clone()
    changed[where, tokens] = (scaled + shifts).clamp(-limits.max, limits.max)
    return changed


def _joined(parts: "Sequence[array[int] | array[float]]", dtype: type[np.generic]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.array(part, dtype=dtype) for part in parts]))


def _draw(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    """A token for each row by chance. Rows go together with those that look at as many candidates."""
    tokens = torch.empty(len(rows), dtype=torch.int64, device=scores.device)
    by_noise = [i for i, row in enumerate(rows) if row.chooser.takes_noise] if gpu.chooses(scores.device) else []
    if by_noise:
        told = torch.from_numpy(noise.packed([rows[i].told for i in by_noise])).to(scores.device)
        tokens[by_noise] = noise.draw(scores[by_noise], told)
    others = [i for i in range(len(rows)) if not by_noise or not rows[i].chooser.takes_noise]
    most = max(1, BLOCK // scores.shape[-1]) if scores.device.type == "cpu" else len(rows)
    for width in sorted({rows[i].chooser.width for i in others}):
        members = [i for i in others if rows[i].chooser.width == width]
        for start in range(0, len(members), most):
            block = members[start : start + most]
            tokens[block] = _draw_block(scores[block], [rows[i] for i in block], width)
    return tokens


def _draw_block(scores: Tensor, rows: Sequence[Row], width: int) -> Tensor:
    odds = _Odds(rows, scores.device)
    weights = weights_of(scores, odds)
    return _draw_filtered(weights, rows, width) if width else pick(weights, odds)


def _draw_filtered(weights: Tensor, rows: Sequence[Row], width: int) -> Tensor:
    """A few of each row hold all that its filters leave, as a rule; of the other rows more and more are looked at."""
    vocabulary = weights.shape[-1]
    among = draw_among_typical if width == EVERY_TOKEN else draw_among
    width = min(CANDIDATES if width == EVERY_TOKEN else width, vocabulary)
    tokens, enough = among(weights, _Odds(rows, weights.device), width)
    wide = [i for i, fits in enumerate(enough.tolist()) if not fits]
    while wide and width < vocabulary:
        width = min(width * WIDER, vocabulary)
        tokens[wide], enough = among(weights[wide], _Odds([rows[i] for i in wide], weights.device), width)
        wide = [i for i, fits in zip(wide, enough.tolist(), strict=True) if not fits]
    return tokens


class _Odds:
    """Those of some rows; tensors are made of them when they are asked for."""

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        self._rows, self._device = rows, device
        self._exact = finest(device)

    @property
    def temperatures(self) -> Tensor:
        return self._numbers([row.chooser.temperature for row in self._rows])

    @property
    def shares(self) -> Tensor:
        return self._numbers([row.chooser.uniform(row.place, again=row.again) for row in self._rows])

    def top_k(self, vocabulary: int) -> Tensor:
        limits = [min(row.chooser.top_k or vocabulary, vocabulary) for row in self._rows]
        return torch.tensor(limits, device=self._device)

    @property
    def top_p(self) -> Tensor:
        return self._numbers([row.chooser.top_p for row in self._rows])

    @property
    def min_p(self) -> Tensor:
        return self._numbers([row.chooser.min_p for row in self._rows])

    @property
    def typical_p(self) -> Tensor | None:
        shares = [row.chooser.typical_p for row in self._rows]
        return self._numbers(shares) if min(shares) < 1.0 else None

    def _numbers(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=self._exact, device=self._device)


def _with_logprobs(logits: Tensor, tokens: Tensor, rows: Sequence[Row]) -> list[Sample]:
    """Logarithmic probabilities are the model's own: before penalty, temperature and filters."""
    samples = [Sample(token) for token in tokens.tolist()]
    asked = [i for i, row in enumerate(rows) if row.chooser.logprobs is not None]
    if not asked:
        return samples
    logprobs = logits[asked].log_softmax(-1)
    chosen = logprobs.gather(-1, tokens[asked][:, None])[:, 0].tolist()
    most = min(max(rows[i].chooser.logprobs or 0 for i in asked), logits.shape[-1])
    values, ids = (part.tolist() for part in logprobs.topk(most, dim=-1))
    for i, logprob, best, which in zip(asked, chosen, values, ids, strict=True):
        count = rows[i].chooser.logprobs or 0
        samples[i] = Sample(samples[i].token, logprob, tuple(zip(which[:count], best[:count], strict=True)))
    return samples


def read_logprobs(logits: Tensor, tokens: Sequence[int], count: int) -> list[Sample]:
    """How likely each of `tokens`, which are given, is by its row of `logits`, and the `count` likeliest beside it."""
    samples: list[Sample] = []
    most = max(1, BLOCK // logits.shape[-1])
    for start in range(0, len(tokens), most):
        block = torch.tensor(tokens[start : start + most], device=logits.device)
        samples += _read_block(logits[start : start + len(block)].log_softmax(-1), block, count)
    return samples


def _read_block(logprobs: Tensor, tokens: Tensor, count: int) -> list[Sample]:
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
    values, ids = (part.tolist() for part in logprobs.topk(min(count, logprobs.shape[-1]), dim=-1))
    return [
        Sample(token, logprob, tuple(zip(which, best, strict=True)))
        for token, logprob, best, which in zip(tokens.tolist(), chosen, values, ids, strict=True)
    ]

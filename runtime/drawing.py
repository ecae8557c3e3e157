"""Draws a token for each of some rows of scores, by chance.

The order is temperature, top-k, top-p, min-p, typical-p, and then one uniform number a row picks from what is left.
Nothing that a row yields depends on the rows beside it, nor on where its numbers come from: a list of the host, or
tensors that are on the device already. It knows neither requests nor seeds.
"""

from typing import Final, Protocol

import torch
from torch import Tensor

FEW_CANDIDATES: Final = 64  # of a vocabulary, where top-k alone says that these are enough
CANDIDATES: Final = 1024  # where it does not; of a row whose filters leave more, so many times
WIDER: Final = 8  # as many are looked at
EVERY_TOKEN: Final = 1 << 62  # where a filter must weigh all of them


class Odds(Protocol):
    """By what some rows are drawn: a number a row, on the device of their scores. Those of probabilities are fp64,
    fp32 where that is all there is.
    """

    @property
    def temperatures(self) -> Tensor: ...
    @property
    def shares(self) -> Tensor:
        """Uniform numbers in [0, 1)."""
        ...

    def top_k(self, vocabulary: int) -> Tensor:
        """int64; `vocabulary` where there is no limit."""
        ...

    @property
    def top_p(self) -> Tensor: ...
    @property
    def min_p(self) -> Tensor: ...
    @property
    def typical_p(self) -> Tensor | None:
        """None where it is 1 in every row."""
        ...


def finest(device: torch.device) -> torch.dtype:
    """What probabilities are added up in."""
    return torch.float32 if device.type == "mps" else torch.float64


def weights_of(scores: Tensor, odds: Odds) -> Tensor:
    """Probabilities times some factor: the likeliest token of each row has 1, so that no temperature overflows."""
    heat = odds.temperatures.to(scores.dtype)[:, None]
    return (scores - scores.amax(-1, keepdim=True)).div_(heat).exp_()


def draw_among(weights: Tensor, odds: Odds, width: int) -> tuple[Tensor, Tensor]:
    """A token for each row from its `width` heaviest, and whether the filters leave none beyond those."""
    heaviest, candidates = weights.topk(width, dim=-1)
    vocabulary = weights.shape[-1]
    top_k, top_p, min_p = odds.top_k(vocabulary), odds.top_p.to(weights.dtype), odds.min_p.to(weights.dtype)
    kept = heaviest * (torch.arange(width, device=weights.device) < top_k[:, None])
    sums = _running_sums(kept)
    unlimited = top_k == vocabulary
    total = torch.where(unlimited, _running_sums(weights)[:, -1], sums[:, -1]) if width < vocabulary else sums[:, -1]
    before = sums - kept
    before[:, 0].fill_(-1.0)  # the heaviest stays, whatever top_p says
    kept = kept * (before < (top_p * total)[:, None])
    kept = kept * (heaviest >= min_p[:, None])  # the heaviest weighs 1
    enough = (top_k <= width) | (unlimited & (kept[:, -1] == 0))
    if (typical := odds.typical_p) is not None:
        kept = kept * _typical(kept, typical)
    return candidates.gather(-1, pick(kept, odds)[:, None])[:, 0], enough


def draw_among_typical(weights: Tensor, odds: Odds, width: int) -> tuple[Tensor, Tensor]:
    """The same where typical-p is the only filter: from the `width` tokens that surprise as is to be expected."""
    parts, distance = _surprise(weights)
    nearest, order = distance.topk(width, dim=-1, largest=False)
    shares = odds.typical_p
    if shares is None:
        shares = torch.ones(len(weights), device=weights.device)
    bound = _last_typical(nearest, parts.gather(-1, order), shares)
    kept = weights.gather(-1, order) * (nearest <= bound)
    heaviest, places = kept.sort(dim=-1, descending=True, stable=True)
    candidates = order.gather(-1, places)
    return candidates.gather(-1, pick(heaviest, odds)[:, None])[:, 0], nearest[:, -1] > bound[:, 0]


def pick(weights: Tensor, odds: Odds) -> Tensor:
    """The first place in each row where the running sum passes the row's share of the total."""
    sums = _running_sums(weights)
    total = sums[:, -1]
    marks = odds.shares.to(sums.dtype) * total
    marks = torch.minimum(marks, total.nextafter(torch.zeros_like(total)))  # rounding must not reach the end
    places = torch.searchsorted(sums, marks[:, None], right=True)[:, 0]
    return places.clamp_(max=weights.shape[-1] - 1)  # only scores that are no numbers get that far


def _typical(weights: Tensor, shares: Tensor) -> Tensor:
    """Which tokens of each row surprise about as much as is to be expected of it: as many as make up its share."""
    parts, distance = _surprise(weights)
    nearest, order = distance.sort(dim=-1, stable=True)
    return (distance <= _last_typical(nearest, parts.gather(-1, order), shares)) | (shares.float() >= 1.0)[:, None]


def _surprise(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, and how far each token's surprise is from the mean surprise, the entropy of its row."""
    exact = finest(weights.device)
    parts = weights.to(exact)
    parts = parts / _running_sums(parts)[:, -1:]
    logarithms = parts.clamp(min=torch.finfo(exact).tiny).log()
    entropy = -_running_sums(parts * logarithms)[:, -1:]
    return parts, (logarithms + entropy).abs().masked_fill(weights == 0, torch.inf)


def _last_typical(nearest: Tensor, parts: Tensor, shares: Tensor) -> Tensor:
    """The distance [rows, 1] up to which tokens make up the share of each row. Equals of the last one stay, too."""
    wanted = shares.to(parts.dtype)[:, None]
    last = (_running_sums(parts) < wanted).sum(-1, keepdim=True).clamp_(max=parts.shape[-1] - 1)
    return nearest.gather(-1, last)


def _running_sums(weights: Tensor) -> Tensor:
    """Added up in one order whatever the number of rows, and finely enough for a long tail of small weights."""
    return weights.cumsum(-1, dtype=finest(weights.device))

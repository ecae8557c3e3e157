"""Which small integers and which scales stand best for a group of numbers: the search behind every quantiser.

A group is a column of x [numbers of a group, groups]: reductions then run along memory, many groups at once. Errors
are weighted sums of squares. A start is a plain rounding under a slightly different scale; the scale that suits its
integers best is then known in closed form (weighted least squares), and the best of all starts is rounded once more.

Knows neither blocks nor bytes.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

_TINY: Final = 1e-15


def affine(x: Tensor, weight: Tensor, most: int, starts: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Scale and minimum, both at least 0, of each group: x is about scale * q - minimum, q in 0..most."""
    low = x.amin(0).clamp_(max=0)
    span = (x.amax(0) - low).clamp_(min=0)
    weighted = weight * x
    sums = _Sums(weight.sum(0), weighted.sum(0), (weighted * x).sum(0))
    scale, minimum = torch.zeros_like(low), -low
    best = sums.squares - low * (2 * sums.x - low * sums.weight)  # every number the lowest one
    shifted, q, work = x - low, torch.empty_like(x), torch.empty_like(x)
    for start in starts:
        torch.mul(shifted, _inverse(span, most + start), out=q)
        _keep_best(q.round_().clamp_(0, most), weight, weighted, sums, (best, scale, minimum), work)
    torch.add(x, minimum, out=q).mul_(_inverse(scale, 1.0))
    _keep_best(q.round_().clamp_(0, most), weight, weighted, sums, (best, scale, minimum), work)
    return scale, minimum


def symmetric(x: Tensor, weight: Tensor, most: int, starts: Sequence[float]) -> Tensor:
    """The scale, of either sign, of each group: x is about scale * q, q in -most..most - 1.

    The number furthest from 0 is on the side that reaches further.
    """
    furthest = x.gather(0, x.abs().argmax(0, keepdim=True)).squeeze(0)
    weighted = weight * x
    best = torch.full_like(furthest, -torch.inf)
    scale, q = torch.zeros_like(furthest), torch.empty_like(x)
    for start in starts:
        torch.mul(x, _inverse(furthest, -(most + start)), out=q)
        _keep_steepest(q.round_().clamp_(-most, most - 1), weight, weighted, best, scale)
    torch.mul(x, _inverse(scale, 1.0), out=q)
    _keep_steepest(q.round_().clamp_(-most, most - 1), weight, weighted, best, scale)
    return scale


def affine_pair(x: Tensor, weight: Tensor, grown: Tensor, shrunk: Tensor) -> tuple[Tensor, Tensor]:
    """The pair that makes a * grown - b * shrunk nearest to x, for each group; nan where there is no one pair."""
    aa, ab, bb = ((weight * one * other).sum(0) for one, other in ((grown, grown), (grown, shrunk), (shrunk, shrunk)))
    ax, bx = (weight * grown * x).sum(0), (weight * shrunk * x).sum(0)
    determinant = aa * bb - ab * ab
    return (ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant


class _Sums:
    """What an affine fit needs of x alone: the sums of weights, of weighted x, and of weighted squares."""

    def __init__(self, weight: Tensor, x: Tensor, squares: Tensor) -> None:
        self.weight, self.x, self.squares = weight, x, squares


def _keep_best(
    q: Tensor, weight: Tensor, weighted: Tensor, sums: _Sums, kept: tuple[Tensor, Tensor, Tensor], work: Tensor
) -> None:
    """Fit scale and minimum to q, and keep them, in place, where their error is less than that of those before."""
    best, scale, minimum = kept
    torch.mul(weight, q, out=work)
    sum_q, sum_qq = work.sum(0), work.mul_(q).sum(0)
    sum_qx = torch.mul(weighted, q, out=work).sum(0)
    determinant = sums.weight * sum_qq - sum_q * sum_q
    fitted = (sums.weight * sum_qx - sums.x * sum_q) / determinant
    less = (sum_q * sum_qx - sum_qq * sums.x) / determinant
    alone = sum_qx / sum_qq.clamp(min=_TINY)
    single = (less < 0) | (determinant <= 0)  # a minimum of no use, or numbers that are all the same
    fitted, less = torch.where(single, alone, fitted), torch.where(single, 0.0, less)
    error = sums.squares + fitted * (fitted * sum_qq - 2 * sum_qx) + less * (less * sums.weight + 2 * sums.x)
    error -= 2 * fitted * less * sum_q
    better = error < best
    for into, new in ((best, error), (scale, fitted), (minimum, less)):
        into.copy_(torch.where(better, new, into))


def _keep_steepest(q: Tensor, weight: Tensor, weighted: Tensor, best: Tensor, scale: Tensor) -> None:
    """The same with a scale alone: the error falls by (sum of xq)^2 / (sum of qq)."""
    sum_qx = (weighted * q).sum(0)
    sum_qq = (weight * q).mul_(q).sum(0).clamp_(min=_TINY)
    gain = sum_qx * sum_qx / sum_qq
    better = gain > best
    best.copy_(torch.where(better, gain, best))
    scale.copy_(torch.where(better, sum_qx / sum_qq, scale))


def _inverse(scale: Tensor, times: float) -> Tensor:
    """times / scale; 0 where the scale is."""
    return torch.where(scale == 0, 0.0, times / scale)

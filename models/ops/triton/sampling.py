# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""A token for each row of scores, without sorting and without a word to the host.

Filters leave what lies at or above a threshold, which is searched among all numbers there are: each pass over the row
narrows it ninefold. Tokens as likely as the last one that stays, stay too. The choice is the largest of scores with
Gumbel noise, which is a function of the request's seed, of the token's place and of the token: a request draws the same
alone and in any company.
"""

from typing import Final

import triton
import triton.language as tl
from torch import Tensor

from ..operands import Choosing
from .later import compiled_later

_TILE: Final = 1024
_PIVOTS: tl.constexpr = tl.constexpr(8)
_NEVER: tl.constexpr = tl.constexpr(1e-30)  # a share so small, that the heaviest passes it


@triton.jit
def _ordered(x):
    """Whole numbers in the order of floats."""
    bits = x.to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64)


@triton.jit
def _tile(scores, start, columns, TILE: tl.constexpr):
    """Scores as fp32, -inf beyond the last, and which are there."""
    offsets = start + tl.arange(0, TILE)
    inside = offsets < columns
    return tl.load(scores + offsets, mask=inside, other=float("-inf")).to(tl.float32), inside


@triton.jit
def _weights(x, largest, coldness):
    return tl.exp((x - largest) * coldness)


@triton.jit
def _mass(scores, columns, largest, coldness, threshold, TILE: tl.constexpr):
    """Of all tokens at or above the threshold; the heaviest weighs 1."""
    kept = tl.zeros([TILE], tl.float32)
    for start in range(0, columns, TILE):
        x, inside = _tile(scores, start, columns, TILE)
        kept += tl.where(inside & (_ordered(x) >= threshold), _weights(x, largest, coldness), 0.0)
    return tl.sum(kept, 0)


@triton.jit
def _threshold(scores, columns, largest, coldness, low, limit, COUNTED: tl.constexpr, TILE: tl.constexpr):
    """The least number, not below `low`, above which less than `limit` lies: tokens, or their mass."""
    pivots = tl.arange(0, _PIVOTS)
    high = _ordered(largest)
    while low < high:
        step = (high - low + _PIVOTS) // (_PIVOTS + 1)
        marks = low + (pivots + 1) * step - 1
        above = tl.zeros([_PIVOTS, TILE], tl.float32)
        for start in range(0, columns, TILE):
            x, inside = _tile(scores, start, columns, TILE)
            beyond = inside[None, :] & (_ordered(x)[None, :] > marks[:, None])
            if COUNTED:
                above += tl.where(beyond, 1.0, 0.0)
            else:
                above += tl.where(beyond, _weights(x, largest, coldness)[None, :], 0.0)
        over = tl.sum(tl.where(tl.sum(above, 1) >= limit, 1, 0), 0)
        high = tl.where(over < _PIVOTS, tl.minimum(low + (over + 1) * step - 1, high), high)
        low = low + over * step
    return low


@triton.jit
def _noise(seed, place, tokens):
    """Gumbel's, finest where it is large."""
    word, _, _, _ = tl.philox(seed, tokens, (place + tokens * 0).to(tl.int32), tokens * 0, tokens * 0)
    share = tl.uint_to_uniform_float(word)
    return -tl.log(tl.where(share < 1e-3, share + 0.5 * share * share, -tl.log(1 - share)))


@triton.jit
def _likeliest(best, tokens):
    """The token of the largest, the first of equals."""
    return tl.min(tl.where(best == tl.max(best, 0), tokens, 0x7FFFFFFF), 0)


@compiled_later
@triton.jit
def _choose_kernel(
    scores, temperature, top_p, min_p, top_k, seeds, places, chosen, best_scores, columns, step, TILE: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    scores += row * step
    offsets = tl.arange(0, TILE)
    best = tl.full([TILE], float("-inf"), tl.float32)
    found = tl.zeros([TILE], tl.int32)
    wrong = tl.zeros([TILE], tl.int32)
    for start in range(0, columns, TILE):
        x, inside = _tile(scores, start, columns, TILE)
        found = tl.where(x > best, start + offsets, found)
        best = tl.maximum(best, x)
        wrong = wrong | tl.where(inside & ((x != x) | (x == float("inf"))), 1, 0)
    largest = tl.max(best, 0)
    heat = tl.load(temperature + row).to(tl.float32)
    token = _likeliest(best, found)
    if (heat > 0) & (largest > float("-inf")):
        coldness = 1 / heat
        threshold = _ordered(largest * 0 - 3.4028234e38)
        limit = tl.load(top_k + row)
        share = tl.load(top_p + row).to(tl.float32)
        if (limit > 0) & (limit < columns):
            threshold = _threshold(scores, columns, largest, coldness, threshold, limit.to(tl.float32), True, TILE)
        if share < 1:
            total = _mass(scores, columns, largest, coldness, threshold, TILE)
            threshold = _threshold(
                scores, columns, largest, coldness, threshold, tl.maximum(share * total, _NEVER), False, TILE
            )
        least = tl.load(min_p + row).to(tl.float32)
        seed = tl.load(seeds + row)
        place = tl.load(places + row)
        best = tl.full([TILE], float("-inf"), tl.float32)
        found = tl.zeros([TILE], tl.int32)
        for start in range(0, columns, TILE):
            x, inside = _tile(scores, start, columns, TILE)
            stays = inside & (_ordered(x) >= threshold) & (_weights(x, largest, coldness) >= least)
            drawn = tl.where(stays, (x - largest) * coldness + _noise(seed, place, start + offsets), float("-inf"))
            found = tl.where(drawn > best, start + offsets, found)
            best = tl.maximum(best, drawn)
        token = _likeliest(best, found)
    broken = (tl.sum(wrong, 0) > 0) | (largest == float("-inf"))
    tl.store(chosen + row, tl.where(broken, 0, token).to(tl.int64))
    tl.store(best_scores + row, tl.where(broken, float("nan"), largest))


def choose(scores: Tensor, choosing: Choosing, chosen: Tensor, best: Tensor) -> None:
    """Write a token for each row of scores [rows, vocabulary] to `chosen` int64 [rows], and to `best` fp32 [rows] its
    largest score: NaN where scores are no numbers, and the token is 0.
    """
    rows, columns = scores.shape
    _choose_kernel[(rows,)](
        scores,
        choosing.temperature,
        choosing.top_p,
        choosing.min_p,
        choosing.top_k,
        choosing.seeds,
        choosing.places,
        chosen,
        best,
        columns,
        scores.stride(0),
        TILE=min(_TILE, triton.next_power_of_2(columns)),
        num_warps=8,
    )

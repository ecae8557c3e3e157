"""Numbers as GGML's blocks: the way into `blocks.py`, in plain torch.

Scales are searched, not taken from the largest number alone (see `rounding.py`); what counts is the mean square error.
Rows go by stretches whose working memory fits a core's cache. Knows neither files nor what a matrix is for.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from .blocks import block_of, dequantize
from .errors import WeightsError
from .quantized import INT8, QuantizedTensor
from .rounding import affine, affine_pair, symmetric

_STRETCH: Final = 1 << 17  # numbers encoded at a time
_AFFINE_STARTS: Final = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
_SYMMETRIC_STARTS: Final = (-0.9, -0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


def quantize(kind: str, numbers: Tensor) -> Tensor:
    """Rows of numbers [rows, columns] -> packed rows uint8 [rows, bytes of a row]. The same numbers, the same bytes.

    Raises `WeightsError` for a kind that is not written here, rows that are no whole blocks, and numbers that no block
    can hold: infinities and what is not a number.
    """
    block = block_of(kind)
    rows, columns = numbers.shape
    if kind not in _ENCODERS:
        raise WeightsError(f"{kind} is not a kind that unillm writes: {', '.join(_ENCODERS)} are")
    if columns % block.elements:
        raise WeightsError(f"rows of {columns} numbers are no whole blocks of {kind}, which are {block.elements} long")
    out = torch.empty(rows, columns // block.elements * block.nbytes, dtype=torch.uint8)
    height = max(1, _STRETCH // columns)
    for first in range(0, rows, height):
        some = numbers[first : first + height].float()
        if not some.isfinite().all():
            raise WeightsError(f"rows {first} to {first + len(some) - 1} hold numbers that are not finite")
        blocks = _ENCODERS[kind](some.reshape(-1, block.elements))
        out[first : first + height] = blocks.view(len(some), -1)
    return out


def fits(kind: str, columns: int) -> bool:
    """Whether rows of so many numbers can be written in this kind."""
    return kind == INT8 or (kind in _ENCODERS and columns % block_of(kind).elements == 0)


def packed(kind: str, weight: Tensor) -> QuantizedTensor:
    """A weight [.., rows, columns] in blocks of `kind`; INT8 is a scale a row. Raises as `quantize` does."""
    rows = weight.reshape(-1, weight.shape[-1])
    if kind != INT8:
        return QuantizedTensor(kind, tuple(weight.shape), quantize(kind, rows))
    data, scale = torch.empty(rows.shape, dtype=torch.int8), torch.empty(len(rows))
    for first in range(0, len(rows), height := max(1, _STRETCH // rows.shape[1])):
        some = rows[first : first + height].float()
        largest = some.abs().amax(-1) / 127
        scale[first : first + height] = largest
        data[first : first + height] = _over(some, largest[:, None]).round_()
    if not scale.isfinite().all():
        raise WeightsError("a weight holds numbers that are not finite")
    return QuantizedTensor(kind, tuple(weight.shape), data.view(torch.uint8), side={"scale": scale})


def mean_square_error(kind: str, numbers: Tensor, packed: Tensor) -> float:
    """Of packed rows, as a share of the mean square of their numbers."""
    return float((dequantize(kind, packed) - numbers).square().sum() / numbers.square().sum())


def _half(scale: Tensor) -> Tensor:
    """As the file's half precision can hold it. What is too large for it becomes its largest."""
    return scale.clamp(-65504.0, 65504.0).half()


def _bytes(halves: Tensor) -> Tensor:
    """Half-precision numbers [n, k] as bytes [n, 2 k]."""
    return halves.contiguous().view(torch.uint8)


def _over(x: Tensor, scale: Tensor) -> Tensor:
    """x / scale; 0 where the scale is."""
    return torch.where(scale == 0, 0.0, x / scale)


def nibbles(q: Tensor, run: int) -> Tensor:
    """Pairs of 4 bits, [n, numbers]: the first `run` numbers are the low halves of as many bytes, the next the high."""
    low, high = q.view(len(q), -1, 2, run).unbind(2)
    return (low | high << 4).reshape(len(q), -1)


def _bit_planes(q: Tensor, bits: int, run: int) -> Tensor:
    """Fields of `bits` bits laid over each other, run by run, the first in the lowest bits: [n, numbers * bits / 8]."""
    planes = q.view(len(q), -1, 8 // bits, run)
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8).view(1, 1, -1, 1)
    return (planes << shifts).sum(2, dtype=torch.uint8).reshape(len(q), -1)


def fifth_bits(q: Tensor) -> Tensor:
    """Bit 4 of each of 32 numbers, as four bytes, lowest first."""
    bits = (q >> 4).view(len(q), 4, 8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)


def _simple(x: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Scale and numbers 0..2 most - 1 that count from `most`, of blocks with one scale."""
    scale = _half(symmetric(x.T.contiguous(), torch.ones(()).expand(x.shape[::-1]), most, _SYMMETRIC_STARTS))[:, None]
    q = _over(x, scale.float()).round_().clamp_(-most, most - 1)
    return scale, (q + most).to(torch.uint8)


def _with_minimum(x: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Scale and minimum side by side, and numbers 0..most, of blocks with one of each."""
    across = x.T.contiguous()
    scale, less = affine(across, torch.ones(()).expand(across.shape), most, _AFFINE_STARTS)
    pair = _half(torch.stack((scale, -less), -1))
    wide = pair.float()
    q = _over(x - wide[:, 1:], wide[:, :1]).round_().clamp_(0, most)
    return pair, q.to(torch.uint8)


def _q4_0(x: Tensor) -> Tensor:
    scale, q = _simple(x, 8)
    return torch.cat((_bytes(scale), nibbles(q, 16)), -1)


def _q4_1(x: Tensor) -> Tensor:
    pair, q = _with_minimum(x, 15)
    return torch.cat((_bytes(pair), nibbles(q, 16)), -1)


def _q5_0(x: Tensor) -> Tensor:
    scale, q = _simple(x, 16)
    return torch.cat((_bytes(scale), fifth_bits(q), nibbles(q & 15, 16)), -1)


def _q5_1(x: Tensor) -> Tensor:
    pair, q = _with_minimum(x, 31)
    return torch.cat((_bytes(pair), fifth_bits(q), nibbles(q & 15, 16)), -1)


def _q8_0(x: Tensor) -> Tensor:
    scale, q = _simple(x, 128)
    return torch.cat((_bytes(scale), q ^ 128), -1)


def _k_affine(x: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of Q4_K and Q5_K: the two halves, the twelve bytes of scales and minima, and numbers 0..most [n, 256]."""
    count = len(x)
    across = x.view(count * 8, 32).T.contiguous()
    weight = torch.ones(()).expand(across.shape)
    found = affine(across, weight, most, _AFFINE_STARTS)
    scale, less = (one.view(count, 8) for one in found)
    pair = torch.stack((scale.amax(1), less.amax(1)), -1) / 63
    small = [_over(one, pair[:, i : i + 1]).round_().clamp_(0, 63) for i, one in enumerate((scale, less))]
    pair, q = _polished(across, weight, most, _half(pair), small)
    return pair, _six_bit_pairs(*(one.to(torch.uint8) for one in small)), q.to(torch.uint8)


def _polished(across: Tensor, weight: Tensor, most: int, pair: Tensor, small: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The numbers [n, 256] under these scales; then the two halves that suit them best, where that is better."""
    count = len(pair)

    def rounded(pair: Tensor) -> tuple[Tensor, Tensor]:
        scale, less = ((pair[:, i : i + 1].float() * small[i]).view(-1) for i in (0, 1))
        q = _over(across + less, scale).round_().clamp_(0, most)
        error = weight * (across - (q * scale - less)).square_()
        return q, error.sum(0).view(count, 8).sum(1)

    q, error = rounded(pair)
    by_block = [one.view(32, count, 8).permute(0, 2, 1).reshape(256, count) for one in (across, weight, q)]
    wide = [one.T.repeat(32, 1) for one in small]
    a, b = affine_pair(by_block[0], by_block[1], by_block[2] * wide[0], wide[1])
    better_pair = _half(torch.stack((a, b), -1).nan_to_num(0.0, 0.0, 0.0).clamp_(min=0))
    better_q, better_error = rounded(better_pair)
    better = better_error < error
    q = torch.where(better.repeat_interleave(8), better_q, q)
    return torch.where(better[:, None], better_pair, pair), q.view(32, count, 8).permute(1, 2, 0).reshape(count, 256)


def _six_bit_pairs(scale: Tensor, less: Tensor) -> Tensor:
    """Eight scales and eight minima of 6 bits: the first four of either whole, the rest in two parts."""
    first, second = scale.view(-1, 2, 4).unbind(1)
    low, high = less.view(-1, 2, 4).unbind(1)
    return torch.cat((first | second >> 4 << 6, low | high >> 4 << 6, second & 15 | (high & 15) << 4), -1)


def _q4_k(x: Tensor) -> Tensor:
    pair, scales, q = _k_affine(x, 15)
    return torch.cat((_bytes(pair), scales, nibbles(q, 32)), -1)


def _q5_k(x: Tensor) -> Tensor:
    pair, scales, q = _k_affine(x, 31)
    fifth = _bit_planes(q >> 4, 1, 32)
    return torch.cat((_bytes(pair), scales, fifth, nibbles(q & 15, 32)), -1)


def _q6_k(x: Tensor) -> Tensor:
    count = len(x)
    across = x.view(count * 16, 16).T.contiguous()
    scale = symmetric(across, torch.ones(()).expand(across.shape), 32, _SYMMETRIC_STARTS).view(count, 16)
    furthest = scale.gather(1, scale.abs().argmax(1, keepdim=True))
    shared = _half(furthest / -128)
    small = _over(scale, shared.float()).round_().clamp_(-128, 127)
    each = (shared.float() * small).repeat_interleave(16, 1)
    q = (_over(x, each).round_().clamp_(-32, 31) + 32).to(torch.uint8)
    # Of each half of a block: 32 numbers over the next 64 in four bits, four runs of 32 in two bits.
    low = nibbles(q & 15, 64)
    high = _bit_planes(q >> 4, 2, 32)
    return torch.cat((low, high, small.to(torch.int8).view(torch.uint8), _bytes(shared)), -1)


_ENCODERS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}

WRITTEN_KINDS: Final = frozenset(_ENCODERS)

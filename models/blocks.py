"""GGML's blocks as numbers: what a packed row of each kind means, in plain torch.

A row is a run of blocks; a block is a few scales and the small integers that they multiply. The arithmetic is fp32 and
rounds where the format's own description does, so the values are bit-equal to the `gguf` package's.

Knows neither files nor matrices' uses. Small integers are unpacked eight bytes at a time, as int64 words: the passes
over bytes are then cheap, and three passes over fp32 remain (convert, scale, shift). It is fastest on tiles of rows
whose fp32 result fits a core's L2 cache, written to one `out` again and again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import WeightsError


@dataclass(frozen=True, slots=True)
class Block:
    """The grain of a packed row: so many numbers in so many bytes."""

    elements: int
    nbytes: int


def block_of(kind: str) -> Block:
    return _lookup(kind)[0]


def dequantize(kind: str, data: Tensor, out: Tensor | None = None) -> Tensor:
    """The numbers of packed rows, uint8 [rows, row bytes] -> fp32 [rows, columns].

    They are written to `out` where one is given; it must be contiguous.
    """
    block, unpack = _lookup(kind)
    rows, width = data.shape
    blocks = width // block.nbytes
    if data.storage_offset() % (2 if block.nbytes % 4 else 4):
        data = data.clone()  # scales are read as words of two or four bytes
    if out is None:
        out = torch.empty(rows, blocks * block.elements, dtype=torch.float32, device=data.device)
    unpack(data.view(rows, blocks, block.nbytes), out.view(rows, blocks, block.elements))
    return out


def _lookup(kind: str) -> tuple[Block, Callable[[Tensor, Tensor], None]]:
    try:
        return _KINDS[kind]
    except KeyError:
        raise WeightsError(f"{kind} is not a packed kind that unillm computes with") from None


def _bytes(blocks: Tensor, start: int, stop: int) -> Tensor:
    """These bytes of each block, always in memory of our own: aligned for any view, and never the mapped file's."""
    return blocks[..., start:stop].clone(memory_format=torch.contiguous_format)


def _halfs(blocks: Tensor, start: int, stop: int) -> Tensor:
    """The half-precision numbers at these bytes of each block, as fp32 [.., so many]."""
    word = torch.int16 if stop - start == 2 else torch.int32
    # One word a block is one long loop; half-precision numbers themselves are slow to gather.
    words = blocks[..., start:stop].view(word).clone(memory_format=torch.contiguous_format)
    return words.view(torch.float16).to(torch.float32)


def _repeat(byte: int) -> int:
    return int.from_bytes(bytes([byte]) * 8, "little")


_MASKS = {bits: _repeat((1 << bits) - 1) for bits in (1, 2, 4)}


def _fields(packed: Tensor, bits: int, run: int) -> Tensor:
    """Spread bytes into their `bits`-wide fields, a byte each, as int64 words.

    Fields are stored run by run: the lowest bits of `run` bytes are the first `run` numbers, their next bits the
    following ones.
    """
    rows, blocks, width = packed.shape
    words = packed.view(torch.int64)
    planes = [(words >> shift if shift else words) & _MASKS[bits] for shift in range(0, 8, bits)]
    # To lay planes side by side is a loop over elements: wide ones are fewer. Not every device has the widest.
    wide, size = (torch.int64, 8) if packed.device.type == "mps" else (torch.complex128, 16)
    side_by_side = [plane.view(wide).view(rows, blocks, width // run, run // size) for plane in planes]
    return torch.stack(side_by_side, -2).view(torch.int64).view(rows, blocks, width // bits)


_EACH_BYTE = _repeat(1)
_NTH_BIT_OF_NTH_BYTE = int.from_bytes(bytes(1 << bit for bit in range(8)), "little", signed=True)


def _single_bits(packed: Tensor) -> Tensor:
    """Spread the bits of each byte, lowest first, into a byte each, as int64 words."""
    chosen = (packed.to(torch.int64) * _EACH_BYTE).bitwise_and_(_NTH_BIT_OF_NTH_BYTE)
    # Each byte is now zero or one of the powers of two; adding 127 carries any of these to its top bit.
    chosen += _repeat(127)
    chosen >>= 7
    return chosen.bitwise_and_(_EACH_BYTE)


def _unsigned(words: Tensor) -> Tensor:
    return words.view(torch.uint8)


def _centred(words: Tensor, zero: int) -> Tensor:
    """Bytes that count from `zero`."""
    return words.view(torch.int8).sub_(zero)


def _scale(numbers: Tensor, out: Tensor, scale: Tensor, less: Tensor | None = None, more: Tensor | None = None) -> None:
    """out = numbers * scale - less, or + more; a scale [.., groups] serves a group of neighbours.

    Product and sum are two steps, never one fused: the format rounds in between.
    """
    out.copy_(numbers)
    grouped = out.view(*scale.shape, out.shape[-1] // scale.shape[-1])
    grouped *= scale.unsqueeze(-1)
    if less is not None:
        grouped -= less.unsqueeze(-1)
    if more is not None:
        grouped += more.unsqueeze(-1)


def _q4_0(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 16 bytes of 4 bits that count from 8."""
    numbers = _centred(_fields(_bytes(blocks, 2, 18), 4, 16), 8)
    _scale(numbers, out, _halfs(blocks, 0, 2))


def _q4_1(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 2 bytes minimum, 16 bytes of 4 bits."""
    scale, minimum = _halfs(blocks, 0, 4).chunk(2, -1)
    _scale(_unsigned(_fields(_bytes(blocks, 4, 20), 4, 16)), out, scale, more=minimum)


def _q5_0(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 4 bytes of fifth bits, 16 bytes of 4 bits; they count from 16."""
    words = _fields(_bytes(blocks, 6, 22), 4, 16).bitwise_or_(_single_bits(_bytes(blocks, 2, 6)) << 4)
    _scale(_centred(words, 16), out, _halfs(blocks, 0, 2))


def _q5_1(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 2 bytes minimum, 4 bytes of fifth bits, 16 bytes of 4 bits."""
    scale, minimum = _halfs(blocks, 0, 4).chunk(2, -1)
    words = _fields(_bytes(blocks, 8, 24), 4, 16).bitwise_or_(_single_bits(_bytes(blocks, 4, 8)) << 4)
    _scale(_unsigned(words), out, scale, more=minimum)


def _q8_0(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 32 signed bytes."""
    _scale(_bytes(blocks, 2, 34).view(torch.int8), out, _halfs(blocks, 0, 2))


def _q2_k(blocks: Tensor, out: Tensor) -> None:
    """16 bytes of 4 bits scale and 4 bits minimum, 64 bytes of 2 bits, 2 bytes each that multiply scales and minima."""
    small = _bytes(blocks, 0, 16)
    scale, minimum = _halfs(blocks, 80, 84).chunk(2, -1)
    numbers = _unsigned(_fields(_bytes(blocks, 16, 80), 2, 32))
    _scale(numbers, out, scale * (small & 15), less=minimum * (small >> 4))


def _q3_k(blocks: Tensor, out: Tensor) -> None:
    """32 bytes of third bits, 64 bytes of 2 bits, 12 bytes of 16 scales of 6 bits, 2 bytes that multiply these."""
    words = _fields(_bytes(blocks, 32, 96), 2, 32).bitwise_or_(_fields(_bytes(blocks, 0, 32), 1, 32) << 2)
    scale = _halfs(blocks, 108, 110) * _q3_k_scales(_bytes(blocks, 96, 108))
    _scale(_centred(words, 4), out, scale)


def _q3_k_scales(packed: Tensor) -> Tensor:
    """16 scales that count from 32: low 4 bits in the first 8 bytes, high 2 bits in the last 4."""
    first, second, high = packed.view(torch.int32).unbind(-1)
    low = [(word >> shift) & 0x0F0F0F0F for shift in (0, 4) for word in (first, second)]
    words = [part | ((high >> 2 * index) & 0x03030303) << 4 for index, part in enumerate(low)]
    return _centred(torch.stack(words, -1), 32)


def _q4_k(blocks: Tensor, out: Tensor) -> None:
    """2 bytes each that multiply scales and minima, 12 bytes of these, 128 bytes of 4 bits."""
    scale, minimum = _k_scales(blocks)
    _scale(_unsigned(_fields(_bytes(blocks, 16, 144), 4, 32)), out, scale, less=minimum)


def _q5_k(blocks: Tensor, out: Tensor) -> None:
    """As Q4_K, with 32 bytes of fifth bits before the last."""
    scale, minimum = _k_scales(blocks)
    words = _fields(_bytes(blocks, 48, 176), 4, 32).bitwise_or_(_fields(_bytes(blocks, 16, 48), 1, 32) << 4)
    _scale(_unsigned(words), out, scale, less=minimum)


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """8 scales and 8 minima of Q4_K and Q5_K: 6 bits each, the first four of either whole, the rest in two parts."""
    scales, minima, rest = _bytes(blocks, 4, 16).view(torch.int32).unbind(-1)
    words = (
        scales & 0x3F3F3F3F,
        rest & 0x0F0F0F0F | scales >> 2 & 0x30303030,
        minima & 0x3F3F3F3F,
        rest >> 4 & 0x0F0F0F0F | minima >> 2 & 0x30303030,
    )
    small = torch.stack(words, -1).view(torch.uint8)
    scale, minimum = _halfs(blocks, 0, 4).chunk(2, -1)
    return scale * small[..., :8], minimum * small[..., 8:]


def _q6_k(blocks: Tensor, out: Tensor) -> None:
    """128 bytes of 4 bits, 64 bytes of 2 bits above them, 16 signed scales, 2 bytes that multiply these."""
    words = _fields(_bytes(blocks, 0, 128), 4, 64).bitwise_or_(_fields(_bytes(blocks, 128, 192), 2, 32) << 4)
    scale = _halfs(blocks, 208, 210) * _bytes(blocks, 192, 208).view(torch.int8)
    _scale(_centred(words, 32), out, scale)


# What four bits choose among: E2M1 floats, doubled; and the steps of a curve, close together about zero.
E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
CURVE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _chosen(words: Tensor, table: tuple[float, ...]) -> Tensor:
    """The entries that bytes of four bits choose, as fp32."""
    entries = torch.tensor(table, dtype=torch.float32, device=words.device)
    return entries[words.view(torch.uint8).to(torch.int32)]


def _mxfp4(blocks: Tensor, out: Tensor) -> None:
    """1 byte power of two, 16 bytes of 4-bit floats."""
    exponent = blocks[..., :1].to(torch.int32)
    # The numbers are doubled, so the power is half: 2^(e - 128), which below 2^-126 is no normal fp32.
    bits = torch.where(exponent < 2, 0x00200000 << exponent, (exponent - 1) << 23)
    _scale(_chosen(_fields(_bytes(blocks, 1, 17), 4, 16), E2M1), out, bits.view(torch.float32))


def _iq4_nl(blocks: Tensor, out: Tensor) -> None:
    """2 bytes scale, 16 bytes of 4 bits on a curve."""
    _scale(_chosen(_fields(_bytes(blocks, 2, 18), 4, 16), CURVE), out, _halfs(blocks, 0, 2))


def _iq4_xs(blocks: Tensor, out: Tensor) -> None:
    """2 bytes that multiply 8 scales, 2 bytes of their high 2 bits, 4 of their low 4 bits, 128 bytes as IQ4_NL's."""
    shifts = torch.arange(8, dtype=torch.int32, device=blocks.device)
    high = _bytes(blocks, 2, 4).view(torch.int16).to(torch.int32)
    low = _bytes(blocks, 4, 8).view(torch.int32)
    small = (low >> 4 * shifts & 15) | (high >> 2 * shifts & 3) << 4
    numbers = _chosen(_fields(_bytes(blocks, 8, 136), 4, 16), CURVE)
    _scale(numbers, out, _halfs(blocks, 0, 2) * (small - 32))


def _grid(values: tuple[int, ...], step: float) -> Callable[[Tensor, Tensor], None]:
    """2 bytes that multiply, 8 bytes of 16 four-bit s that mean 2 s + 1 `step`s, 128 bytes of choices as IQ4_NL's."""

    def unpack(blocks: Tensor, out: Tensor) -> None:
        pairs = _bytes(blocks, 2, 10)
        small = torch.stack((pairs & 15, pairs >> 4), -1).flatten(-2)
        scale = _halfs(blocks, 0, 2) * step * (2 * small + 1)
        _scale(_chosen(_fields(_bytes(blocks, 10, 138), 4, 16), values), out, scale)

    return unpack


# Kinds of our own, for those of GGML whose blocks name points of a grid: what the points consist of, and the step of
# their scales. Those of one and a half bits come in eighths, with their shift.
GRIDS: dict[str, tuple[tuple[int, ...], float]] = {
    "GRID1": ((-9, -7, -1, 1, 7, 9), 0.125),
    "GRID2": ((-43, -25, -8, 8, 25, 43), 0.125),
    "GRID3_XXS": ((-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62), 0.25),
    "GRID3_S": ((-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15), 1.0),
}


def _eight_bits(dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    """4 bytes of an fp32 scale, 128 floats of a byte."""

    def unpack(blocks: Tensor, out: Tensor) -> None:
        _scale(_bytes(blocks, 4, 132).view(dtype), out, _bytes(blocks, 0, 4).view(torch.float32))

    return unpack


def _four_bits(table: tuple[float, ...], scales: int) -> Callable[[Tensor, Tensor], None]:
    """`scales` numbers in fp32, and choices as IQ4_NL's."""

    def unpack(blocks: Tensor, out: Tensor) -> None:
        numbers = _chosen(_fields(_bytes(blocks, 4 * scales, blocks.shape[2]), 4, 16), table)
        _scale(numbers, out, _bytes(blocks, 0, 4 * scales).view(torch.float32))

    return unpack


def _signed(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return *numbers, *(-number for number in numbers)


# What four bits choose among.
TABLES: dict[str, tuple[float, ...]] = {
    "NVFP4": _signed((0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)),
    "FP4": _signed(
        (0.0, 0.0052083334885537624, 0.6666666865348816, 1.0, 0.3333333432674408, 0.5, 0.1666666716337204, 0.25)
    ),
    "NF4": (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
}

# Kinds of our own, for those of safetensors whose numbers are floats.
FLOATS: dict[str, tuple[Block, Callable[[Tensor, Tensor], None]]] = {
    "E4M3": (Block(128, 132), _eight_bits(torch.float8_e4m3fn)),
    "E5M2": (Block(128, 132), _eight_bits(torch.float8_e5m2)),
    "NVFP4": (Block(32, 24), _four_bits(TABLES["NVFP4"], 2)),
    **{kind: (Block(64, 36), _four_bits(TABLES[kind], 1)) for kind in ("NF4", "FP4")},
}

_KINDS: dict[str, tuple[Block, Callable[[Tensor, Tensor], None]]] = {
    "Q4_0": (Block(32, 18), _q4_0),
    "Q4_1": (Block(32, 20), _q4_1),
    "Q5_0": (Block(32, 22), _q5_0),
    "Q5_1": (Block(32, 24), _q5_1),
    "Q8_0": (Block(32, 34), _q8_0),
    "Q2_K": (Block(256, 84), _q2_k),
    "Q3_K": (Block(256, 110), _q3_k),
    "Q4_K": (Block(256, 144), _q4_k),
    "Q5_K": (Block(256, 176), _q5_k),
    "Q6_K": (Block(256, 210), _q6_k),
    "IQ4_NL": (Block(32, 18), _iq4_nl),
    "IQ4_XS": (Block(256, 136), _iq4_xs),
    "MXFP4": (Block(32, 17), _mxfp4),
    **{kind: (Block(256, 138), _grid(*grid)) for kind, grid in GRIDS.items()},
    **FLOATS,
}

PACKED_KINDS = frozenset(_KINDS) - GRIDS.keys() - FLOATS.keys()  # as GGUF has them

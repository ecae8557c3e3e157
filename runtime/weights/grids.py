"""GGUF kinds whose blocks name points of a grid, turned once, as they are loaded, into four bits and a scale.

A point is looked up in tables of up to 2048 entries, which no product can do at the pace of memory. What the points of
a family consist of is few numbers, though: four bits choose among them (`models.blocks.GRIDS`), exactly. The points
come from the `gguf` package, which is given blocks whose scales are one; where a kind keeps its scales is known here.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.blocks import GRIDS

Bytes: TypeAlias = NDArray[np.uint8]

# GGML's kinds, and which of ours holds the same numbers.
GRID_KINDS: Final = {
    "IQ1_S": "GRID1",
    "IQ1_M": "GRID1",
    "IQ2_XXS": "GRID2",
    "IQ2_XS": "GRID2",
    "IQ2_S": "GRID2",
    "IQ3_XXS": "GRID3_XXS",
    "IQ3_S": "GRID3_S",
}

_COLUMNS: Final = 256
_BLOCKS_AT_ONCE: Final = 4096  # which take some 30 MB as the package decodes them
_ONE: Final = np.frombuffer(np.float16(1).tobytes(), np.uint8)


def on_grid(kind: str, rows: Tensor) -> Tensor:
    """The rows of a tensor, uint8 [rows, bytes of a row], in blocks of our kind."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # late: it brings the tables of every kind

    blocks = rows.numpy().reshape(-1, GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1])
    made = np.empty((len(blocks), 2 + 8 + 128), np.uint8)
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        taken = slice(first, first + _BLOCKS_AT_ONCE)
        made[taken] = _regrid(kind, blocks[taken].copy())
    return torch.from_numpy(made.reshape(len(rows), -1))


def _regrid(kind: str, blocks: Bytes) -> Bytes:
    """Overwrites the scales of `blocks`."""
    from gguf import GGMLQuantizationType, quants

    factor, scales = _TAKE_SCALES[kind](blocks)
    values, step = GRIDS[GRID_KINDS[kind]]
    numbers = quants.dequantize(blocks, GGMLQuantizationType[kind]).reshape(len(blocks), _COLUMNS)
    choices = np.zeros(256, np.uint8)
    choices[np.array(values) + 128] = np.arange(len(values), dtype=np.uint8)
    chosen = choices[(numbers * (1 / step)).astype(np.int16) + 128].reshape(len(blocks), -1, 2, 16)
    low, high = chosen[:, :, 0], chosen[:, :, 1]
    both = (low | high << 4).reshape(len(blocks), -1)
    made = np.concatenate((factor, scales[:, 0::2] | scales[:, 1::2] << 4, both), axis=1)
    return made.astype(np.uint8, copy=False)


def _nibbles(packed: Bytes) -> Bytes:
    return np.stack((packed & 15, packed >> 4), axis=-1).reshape(len(packed), -1).astype(np.uint8)


def _three_bits(words: NDArray[np.uint16]) -> Bytes:
    """The four lowest fields of each word."""
    fields = words[..., None] >> np.array([0, 3, 6, 9], np.uint16) & 7
    return fields.astype(np.uint8).reshape(len(words), -1)


def _take_factor(blocks: Bytes) -> Bytes:
    factor = blocks[:, :2].copy()
    blocks[:, :2] = _ONE
    return factor


def _take_tops(start: int, step: int) -> Callable[[Bytes], tuple[Bytes, Bytes]]:
    """A scale for 32 columns in the top of the last byte of every `step` from `start` on."""

    def take(blocks: Bytes) -> tuple[Bytes, Bytes]:
        tops = blocks[:, start + step - 1 : start + 8 * step : step]
        scales = np.repeat(tops >> 4, 2, axis=1).astype(np.uint8)
        tops &= 15
        return _take_factor(blocks), scales

    return take


def _take_last(count: int) -> Callable[[Bytes], tuple[Bytes, Bytes]]:
    """Scales of four bits in the last bytes, so many."""

    def take(blocks: Bytes) -> tuple[Bytes, Bytes]:
        scales = np.repeat(_nibbles(blocks[:, -count:]), 8 // count, axis=1)
        blocks[:, -count:] = 0
        return _take_factor(blocks), scales

    return take


def _take_iq1_s(blocks: Bytes) -> tuple[Bytes, Bytes]:
    """A scale for 32 columns in bits 12 to 14 of eight words."""
    tops = blocks[:, 35::2]
    scales = np.repeat(tops >> 4 & 7, 2, axis=1).astype(np.uint8)
    tops &= 0x8F
    return _take_factor(blocks), scales


def _take_iq1_m(blocks: Bytes) -> tuple[Bytes, Bytes]:
    """Four words: four scales of three bits each, and above them the bits of the half that multiplies."""
    words = blocks[:, 48:].copy().view(np.uint16)
    tops = words >> 12 << np.array([0, 4, 8, 12], np.uint16)
    factor = np.bitwise_or.reduce(tops, axis=1, keepdims=True).astype(np.uint16).view(np.uint8)
    one = np.array([0x0000, 0x0000, 0xC000, 0x3000], np.uint16)  # 0x3c00, four bits a word
    blocks[:, 48:] = one.view(np.uint8)
    return factor, _three_bits((words & 0x0FFF).astype(np.uint16))


_TAKE_SCALES: Final[dict[str, Callable[[Bytes], tuple[Bytes, Bytes]]]] = {
    "IQ1_S": _take_iq1_s,
    "IQ1_M": _take_iq1_m,
    "IQ2_XXS": _take_tops(2, 8),
    "IQ2_XS": _take_last(8),
    "IQ2_S": _take_last(8),
    "IQ3_XXS": _take_tops(66, 4),
    "IQ3_S": _take_last(4),
}

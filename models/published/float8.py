"""Matrices of 8-bit floats, and the scales that blocks of them, rows, or all share.

    weight [out, in] float8_e4m3fn or another    weight_scale_inv or weight_scale: what the numbers are times,
                                                 [out / block, in / block], [out, 1], [out], or one

"Inverse" is the word of DeepSeek's files for the same thing. Scales of activations are left out: activations stay as
they are.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Self

import torch
from torch import Tensor

from ..quantized import PUBLISHED, QuantizedTensor
from .stored import FLOATS, Stored

if TYPE_CHECKING:
    from ..contract import Part

KINDS: Final = (torch.float8_e4m3fn, torch.float8_e5m2)
_SCALES: Final = (*FLOATS, torch.float8_e8m0fnu)
_ENDS: Final = ("weight_scale_inv", "weight_scale")
_BLOCK: Final = 128  # columns of a kernel's block, which share a scale
_BLOCKS: Final = {torch.float8_e4m3fn: "E4M3", torch.float8_e5m2: "E5M2"}
_LARGEST_SCALE: Final = 2.0**7  # the kernels' is larger by a power of two that fp32 must hold


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Float8Tensor(QuantizedTensor):
    """`data` [rows, columns] as stored; "scales" fp32 [blocks of rows, blocks of columns], a scale for `tile` of them,
    those at the edges cut short.
    """

    layout: str = PUBLISHED
    tile: tuple[int, int]

    @property
    def block(self) -> int:
        return self.tile[1] if self.side["scales"].shape[1] > 1 else 1

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        scales, (height, width) = self.side["scales"], self.tile
        found = self.data[taken]
        out = torch.empty(found.shape, device=self.device) if out is None else out
        out.copy_(found)
        places = torch.arange(*taken.indices(self.shape[0]), device=self.device) if isinstance(taken, slice) else taken
        along = scales.index_select(0, places // height)
        for column in range(scales.shape[1]):
            out[:, column * width : (column + 1) * width] *= along[:, column : column + 1]
        return out

    def in_blocks(self) -> QuantizedTensor:
        """As blocks of 128 columns that begin with their scale; itself, where some have several or are no numbers."""
        rows, columns = self.shape[-2:]
        scales, (height, width) = self.side["scales"], self.tile
        if len(self.shape) != 2 or columns % _BLOCK or (scales.shape[1] > 1 and width % _BLOCK):
            return self
        if not bool((scales.abs() <= _LARGEST_SCALE).all()) or not bool(_are_numbers(self.data)):
            return self
        each = scales.repeat_interleave(max(1, (width if scales.shape[1] > 1 else columns) // _BLOCK), 1)
        along = each[:, : columns // _BLOCK].repeat_interleave(height, 0)[:rows, :, None].contiguous()
        data = self.data.view(torch.uint8).view(rows, -1, _BLOCK)
        return QuantizedTensor(
            _BLOCKS[self.data.dtype], self.shape, torch.cat((along.view(torch.uint8), data), -1).flatten(1)
        )

    def part(self, part: "Part") -> Self:
        """Some rows, or some columns at the borders of blocks."""
        start, stop, scales, (height, width) = part.start, part.stop, self.side["scales"], self.tile
        if part.dim == 0 and start % height == 0 and (stop % height == 0 or stop == self.shape[0]):
            kept, shape = scales[start // height : -(-stop // height)], (stop - start, self.shape[1])
            return replace(self, shape=shape, data=self.data[start:stop], side={"scales": kept})
        if part.dim == 0:
            apart = scales.index_select(0, torch.arange(start, stop, device=self.device) // height)
            shape, data = (stop - start, self.shape[1]), self.data[start:stop]
            return replace(self, shape=shape, data=data, side={"scales": apart}, tile=(1, width))
        self.check_columns(part)
        kept = scales if scales.shape[1] == 1 else scales[:, start // width : -(-stop // width)]
        return replace(self, shape=(self.shape[0], stop - start), data=self.data[:, start:stop], side={"scales": kept})


@dataclass(frozen=True, slots=True)
class Float8:
    """`tile` is what config.json says of blocks, if it does; they are as large as each other where it does not."""

    marks: ClassVar[tuple[str, ...]] = _ENDS
    others: ClassVar[tuple[str, ...]] = ("weight", "input_scale", "activation_scale", "input_scale_ub")

    tile: tuple[int, int] | None = None

    def read(self, stored: Stored) -> QuantizedTensor:
        numbers, end = stored.matrix("weight", *KINDS), next(end for end in _ENDS if stored.has(end))
        scales = stored.take(end, *_SCALES)
        rows, columns = numbers.shape
        flat = scales.float().reshape(-1, 1) if scales.dim() < 2 or scales.numel() == 1 else scales.float()
        tile = self._tile(tuple(flat.shape), (rows, columns))
        if tile is None:
            raise stored.error(end, f"is {list(scales.shape)}, which are no blocks of [{rows}, {columns}]")
        return Float8Tensor("FP8", (rows, columns), numbers, side={"scales": flat}, tile=tile)

    def _tile(self, counts: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int] | None:
        """The numbers that share a scale: one for all, one a row, or blocks."""
        even = (max(1, shape[0] // max(1, counts[0])), max(1, shape[1] // max(1, counts[1])))
        for tile in (shape, (1, shape[1]), self.tile or even):
            if counts == tuple(-(-a // b) for a, b in zip(shape, tile, strict=True)):
                return tile
        return None


def _are_numbers(data: Tensor) -> Tensor:
    """Whether no byte stands for infinity, or for what is not a number."""
    largest = 0x7E if data.dtype == torch.float8_e4m3fn else 0x7B
    return (data.view(torch.uint8) & 0x7F).max() <= largest

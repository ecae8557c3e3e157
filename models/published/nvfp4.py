"""NVFP4: numbers of four bits, sixteen of which share an 8-bit float, and all of a matrix one more.

weight_packed [out, in / 2] uint8    neighbours in a byte, the first in the low bits; each names one of 16 floats
weight_scale [out, in / 16] float8_e4m3fn, weight_global_scale one fp32    numbers are times the first over the second

Model Optimizer calls the first `weight`, and has `weight_scale_2` instead of the last: numbers are times both.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import torch
from torch import Tensor

from ..blocks import TABLES
from ..encoding import nibbles
from ..quantized import PUBLISHED, QuantizedTensor
from .stored import Stored

if TYPE_CHECKING:
    from ..contract import Part

_GROUP: Final = 16
_BLOCK: Final = 32  # columns of a kernel's block


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Nvfp4Tensor(QuantizedTensor):
    """`data` is weight_packed. In `side`: "scales", and for all either "over" or "times"."""

    layout: str = PUBLISHED

    @property
    def block(self) -> int:
        return _GROUP

    def _scales(self, taken: slice | Tensor) -> Tensor:
        """What the numbers of these rows are times, fp32 [rows, groups]."""
        scales = self.side["scales"][taken].float()
        return scales * self.side["times"] if "times" in self.side else scales / self.side["over"]

    def in_blocks(self) -> QuantizedTensor:
        """As blocks of two groups that begin with their scales."""
        if self.shape[1] % _BLOCK:
            return self
        rows, columns = self.shape
        chosen = torch.stack((self.data & 15, self.data >> 4), -1).view(-1, _BLOCK)
        scales = self._scales(slice(None)).view(rows, -1, _BLOCK // _GROUP).contiguous().view(torch.uint8)
        numbers = nibbles(chosen, _GROUP).view(rows, columns // _BLOCK, -1)
        return QuantizedTensor(self.kind, self.shape, torch.cat((scales, numbers), -1).flatten(1))

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        bytes_ = self.data[taken]
        chosen = torch.stack((bytes_ & 15, bytes_ >> 4), -1).flatten(-2)
        table = torch.tensor(TABLES[self.kind], device=self.device)
        numbers = table.index_select(0, chosen.flatten().int()).view(len(chosen), -1, _GROUP)
        scales = self._scales(taken)
        out = torch.empty(chosen.shape, device=self.device) if out is None else out
        torch.mul(numbers, scales[..., None], out=out.view(numbers.shape))
        return out

    def part(self, part: "Part") -> Self:
        """Some rows, or some columns at the borders of groups."""
        start, stop, scales = part.start, part.stop, self.side["scales"]
        if part.dim == 0:
            side = {**self.side, "scales": scales[start:stop]}
            return replace(self, shape=(stop - start, self.shape[1]), data=self.data[start:stop], side=side)
        self.check_columns(part)
        side = {**self.side, "scales": scales[:, start // _GROUP : stop // _GROUP]}
        data = self.data[:, start // 2 : stop // 2]
        return replace(self, shape=(self.shape[0], stop - start), data=data, side=side)


def read(stored: Stored, packed: Tensor) -> Nvfp4Tensor:
    """As compressed-tensors lays it out."""
    return _read(stored, "weight_packed", packed, "weight_global_scale", "over")


def read_optimized(stored: Stored, packed: Tensor) -> Nvfp4Tensor:
    """As Model Optimizer does."""
    return _read(stored, "weight", packed, "weight_scale_2", "times")


def _read(stored: Stored, end: str, packed: Tensor, whole: str, role: str) -> Nvfp4Tensor:
    rows, columns = len(packed), packed.shape[1] * 2
    scales = stored.matrix("weight_scale", torch.float8_e4m3fn)
    if columns % _GROUP:
        raise stored.error(end, f"has rows of {columns} numbers, which are no groups of {_GROUP}")
    stored.expect("weight_scale", (rows, columns // _GROUP))
    for_all = stored.take(whole, torch.float32)
    if for_all.numel() != 1 or not bool(for_all.isfinite().all() and for_all.all()):
        raise stored.error(whole, "is not one number other than 0")
    return Nvfp4Tensor("NVFP4", (rows, columns), packed, side={"scales": scales, role: for_all.reshape(())})

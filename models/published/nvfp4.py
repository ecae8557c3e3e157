"""NVFP4: numbers of four bits, sixteen of which share an 8-bit float, and all of a matrix one more.

weight_packed [out, in / 2] uint8    neighbours in a byte, the first in the low bits; each names one of 16 floats
weight_scale [out, in / 16] float8_e4m3fn, weight_global_scale one fp32    numbers are times the first over the second
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import torch
from torch import Tensor

from ..quantized import PUBLISHED, QuantizedTensor
from .stored import Stored

if TYPE_CHECKING:
    from ..contract import Part

_GROUP: Final = 16
_FLOATS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Nvfp4Tensor(QuantizedTensor):
    """`data` is weight_packed; "scales" and "over" in `side` are the two scales."""

    layout: str = PUBLISHED

    @property
    def block(self) -> int:
        return _GROUP

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        bytes_ = self.data[taken]
        chosen = torch.stack((bytes_ & 15, bytes_ >> 4), -1).flatten(-2)
        table = torch.tensor([*_FLOATS, *(-number for number in _FLOATS)], device=self.device)
        numbers = table.index_select(0, chosen.flatten().int()).view(len(chosen), -1, _GROUP)
        scales = self.side["scales"][taken].float() / self.side["over"]
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
    rows, columns = len(packed), packed.shape[1] * 2
    scales = stored.matrix("weight_scale", torch.float8_e4m3fn)
    if columns % _GROUP:
        raise stored.error("weight_packed", f"has rows of {columns} numbers, which are no groups of {_GROUP}")
    stored.expect("weight_scale", (rows, columns // _GROUP))
    over = stored.take("weight_global_scale", torch.float32)
    if over.numel() != 1 or not bool(over.isfinite().all() and over.all()):
        raise stored.error("weight_global_scale", "is not one number other than 0")
    return Nvfp4Tensor("NVFP4", (rows, columns), packed, side={"scales": scales, "over": over.reshape(())})

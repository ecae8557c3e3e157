"""Packed weights as the kernels of a GPU read them: the parts of their blocks apart, each in a plane of its own.

A file's blocks take 18 or 210 bytes and begin anywhere, and a GPU reads 16 bytes at once. In planes all small numbers
of a row lie one behind the other, lowest bits first, and so do all scales; together they take what the blocks took.
What planes mean is said here in plain torch, for whatever no kernel computes; `arranging.py` is the way into them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import torch
from torch import Tensor

from .published.bits import fields
from .quantized import QuantizedTensor

if TYPE_CHECKING:
    from .contract import Part

PLANES: Final = "planes"
_OF_SUPER_BLOCK: Final = 8  # groups


@dataclass(frozen=True, slots=True)
class Form:
    """How planes are read. `numbers` and `scales` name a function each, here and among the kernels' own.

    `group` columns of `height` rows share a scale. Small numbers count from `zero`; `dtype` is that of the words or
    numbers in `data`.
    """

    numbers: str
    scales: str
    group: int
    zero: int = 0
    height: int = 1
    dtype: torch.dtype = torch.int32

    @property
    def span(self) -> int:
        """Columns that a kernel reads at once: 16 bytes, and as many columns for each of them."""
        if self.numbers == "floats":
            return max(8, 16 // self.dtype.itemsize)
        return 16 if self.numbers == "sixes" else 32

    @property
    def shifted(self) -> bool:
        """Whether something is added to numbers times their scale."""
        return self.scales in ("minima", "zeros", "pairs")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlanesTensor(QuantizedTensor):
    """`data` uint8 [all rows, bytes]: the numbers of `form`, of whole bytes or the lowest four bits of each.

    In `side`: "high", the other bits, or "table", what four bits choose among; "scales"; "more", what these are made
    of beside; "columns" int64, the matrix's own column of each column here, where they were sorted.
    """

    layout: str = PLANES
    form: Form

    @property
    def block(self) -> int:
        return self.shape[-1]

    def alike(self, other: QuantizedTensor) -> bool:
        if not isinstance(other, PlanesTensor) or (self.form, self.side.keys()) != (other.form, other.side.keys()):
            return False
        same = "table" not in self.side or torch.equal(self.side["table"], other.side["table"])
        return same and "columns" not in self.side

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        numbers = _NUMBERS[self.form.numbers](self, taken).float()
        scale, offset = _SCALES[self.form.scales](self, taken)
        found = torch.mul(numbers, self._wide(scale), out=None if "columns" in self.side else out)
        if offset is not None:
            found += self._wide(offset)
        if "columns" not in self.side:
            return found
        out = torch.empty_like(found) if out is None else out
        out[:, self.side["columns"]] = found
        return out

    def _wide(self, each: Tensor) -> Tensor:
        """What a group has, for each of its columns."""
        return each.repeat_interleave(self.form.group, 1)[:, : self.shape[-1]]

    def part(self, part: "Part") -> Self:
        """Some of several matrices, or some rows of one. Raises `ValueError` for columns."""
        if part.dim:
            raise ValueError(f"a {self.kind} tensor in planes is cut by rows alone, not along dimension {part.dim}")
        each = len(self.data) // self.shape[0]
        side, form = self._sides(part, each), self.form if len(self.shape) == 3 else replace(self.form, height=1)
        shape = (part.stop - part.start, *self.shape[1:])
        return replace(self, shape=shape, data=self.data[part.start * each : part.stop * each], side=side, form=form)

    def _sides(self, part: "Part", each: int) -> dict[str, Tensor]:
        whole = ("table", "columns")
        own = slice(part.start * each, part.stop * each)
        side = {name: one if name in whole else one[own] for name, one in self.side.items()}
        scales = self.side["scales"]
        if len(self.shape) == 3:
            high = len(scales) // self.shape[0]
            side["scales"] = scales[part.start * high : part.stop * high]
        elif self.form.height > 1:
            side["scales"] = scales[torch.arange(part.start, part.stop, device=self.device) // self.form.height]
        return side

    def scale_rows(self, taken: slice | Tensor) -> Tensor:
        """Which rows of scales belong to these of all rows. Each of several matrices has whole ones of its own."""
        places = torch.arange(len(self.data), device=self.device)[taken]
        rows = self.shape[-2]
        return places // rows * -(-rows // self.form.height) + places % rows // self.form.height


def _nibbles(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    return fields(weight.data[taken], 4).to(torch.int16) - weight.form.zero


def _fives(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    return _nibbles(weight, taken) + (fields(weight.side["high"][taken], 1).to(torch.int16) << 4)


def _sixes(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    """All first words of each sixteen columns, then all second ones."""
    words = weight.data[taken].reshape(-1, 2, weight.shape[-1] // 16, 4)
    low = fields(words.transpose(1, 2).flatten(1), 4).to(torch.int16) - weight.form.zero
    return low + (fields(weight.side["high"][taken], 2).to(torch.int16) << 4)


def _chosen(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    return weight.side["table"][fields(weight.data[taken], 4).int()]


def _doubled(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    """Floats of four bits, times two."""
    table = torch.tensor((0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), device=weight.device)
    return table[fields(weight.data[taken], 4).int()]


def _floats(weight: PlanesTensor, taken: slice | Tensor) -> Tensor:
    return weight.data[taken].view(weight.form.dtype)


def _plain(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, None]:
    return weight.side["scales"][weight.scale_rows(taken)].float(), None


def _minima(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, Tensor]:
    return _plain(weight, taken)[0], weight.side["more"][taken].float()


def _zeros(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, Tensor]:
    scale, _ = _plain(weight, taken)
    return scale, -scale * weight.side["more"][taken].float()


def _pairs(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, Tensor]:
    """Scales and minima of six bits: the low four of both in a byte each, the high two of both in half a byte."""
    scales = weight.side["scales"][taken].float()
    outer = scales.view(len(scales), -1, 2).repeat_interleave(_OF_SUPER_BLOCK, 1)
    low, high = weight.side["more"][taken].split_with_sizes((outer.shape[1], outer.shape[1] // 2), -1)
    high = fields(high, 4)
    return outer[..., 0] * (low & 15 | (high & 3) << 4), -outer[..., 1] * (low >> 4 | (high & 12) << 2)


def _small(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, None]:
    inner = weight.side["more"][taken].float()
    outer = weight.side["scales"][taken].float()
    return outer.repeat_interleave(inner.shape[1] // outer.shape[1], 1) * inner, None


def _powers(weight: PlanesTensor, taken: slice | Tensor) -> tuple[Tensor, None]:
    """2^(e - 128), of numbers that are doubled."""
    exponent = weight.side["scales"][taken].int()
    return torch.where(exponent < 2, 0x00200000 << exponent, (exponent - 1) << 23).view(torch.float32), None


_NUMBERS: Final[Mapping[str, Callable[[PlanesTensor, slice | Tensor], Tensor]]] = {
    "nibbles": _nibbles,
    "fives": _fives,
    "sixes": _sixes,
    "chosen": _chosen,
    "doubled": _doubled,
    "floats": _floats,
}
_SCALES: Final[Mapping[str, Callable[[PlanesTensor, slice | Tensor], tuple[Tensor, Tensor | None]]]] = {
    "plain": _plain,
    "minima": _minima,
    "zeros": _zeros,
    "pairs": _pairs,
    "small": _small,
    "powers": _powers,
}

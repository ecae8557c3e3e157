"""Matrices of small whole numbers, of which a group of neighbours in a row shares a scale and a zero.

A number means (number - zero) * scale: a product that fp32 holds exactly where scales are half precision, so that it
rounds to what the tools' own arithmetic in half precision gives.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING, Final, Self

import torch
from torch import Tensor

from ..encoding import fifth_bits, nibbles
from ..quantized import PUBLISHED, QuantizedTensor

if TYPE_CHECKING:
    from ..contract import Part

_BLOCK: Final = 32
_STRETCH: Final = 1 << 22  # numbers re-laid at a time


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Grouped(QuantizedTensor, ABC):
    """`data` holds numbers of `bits` bits as the tool lays them; `group` columns share a scale.

    In `side`: "scales" [rows, groups]; "zeros" [rows, groups] uint8, where they are not all half of what the bits can
    hold; "order" [columns] int32, the group of each column, where these are no neighbours.
    """

    layout: str = PUBLISHED
    bits: int
    group: int

    @abstractmethod
    def numbers(self, rows: slice) -> Tensor:
        """Of whole rows, uint8 [rows, columns]."""

    @abstractmethod
    def cut_rows(self, start: int, stop: int) -> Tensor:
        """The `data` of these rows. Raises `ValueError` where rows share words."""

    @abstractmethod
    def cut_columns(self, start: int, stop: int) -> Tensor:
        """The `data` of these columns."""

    @property
    @abstractmethod
    def shared(self) -> int:
        """How many columns share words."""

    @property
    def middle(self) -> int:
        return 1 << self.bits - 1

    @property
    def block(self) -> int:
        return self.shared if "order" in self.side else lcm(self.shared, self.group)

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        if isinstance(taken, Tensor):
            found = self.rows(slice(None))[taken]
            return found if out is None else out.copy_(found)
        numbers, scales = self.numbers(taken), self.side["scales"][taken].float()
        out = torch.empty(numbers.shape, device=self.device) if out is None else out
        out.copy_(numbers)
        zeros = self.side["zeros"][taken].float() if "zeros" in self.side else None
        if "order" in self.side:
            order = self.side["order"]
            out.sub_(self.middle if zeros is None else zeros.index_select(1, order))
            return out.mul_(scales.index_select(1, order))
        grouped = out.view(*scales.shape, self.group)
        grouped.sub_(self.middle if zeros is None else zeros[..., None]).mul_(scales[..., None])
        return out

    def part(self, part: "Part") -> Self:
        """Some rows, or some columns at the borders of groups."""
        start, stop = part.start, part.stop
        if part.dim == 0:
            side = {name: one if name == "order" else one[start:stop] for name, one in self.side.items()}
            return replace(self, shape=(stop - start, self.shape[1]), data=self.cut_rows(start, stop), side=side)
        self.check_columns(part)
        along = slice(start, stop) if "order" in self.side else slice(start // self.group, stop // self.group)
        cut = ("order",) if "order" in self.side else ("scales", "zeros")
        side = {name: one[..., along] if name in cut else one for name, one in self.side.items()}
        return replace(self, shape=(self.shape[0], stop - start), data=self.cut_columns(start, stop), side=side)

    def in_blocks(self) -> QuantizedTensor:
        """As Q4_0, Q5_0 or Q8_0, groups of columns together, where these hold the same numbers exactly; else itself."""
        kind, columns = self._block_kind(), self.sorted_columns()
        if kind is None or ("order" in self.side and columns is None):
            return self
        rows, height = self.shape[0], max(1, _STRETCH // self.shape[1])
        edges = [slice(first, min(first + height, rows)) for first in range(0, rows, height)]
        blocks = torch.cat([self._stretch(kind, edge, columns) for edge in edges])
        return QuantizedTensor(kind, self.shape, blocks, side={} if columns is None else {"columns": columns})

    def sorted_columns(self) -> Tensor | None:
        """Columns by their groups, where these are no neighbours; None also where groups are not of one size."""
        order = self.side.get("order")
        if order is None or not bool((order.bincount() == self.group).all()):
            return None
        return order.argsort(stable=True)

    def _block_kind(self) -> str | None:
        scales, zeros = self.side["scales"], self.side.get("zeros")
        if self.group % _BLOCK or not torch.equal(scales.half().float(), scales.float()):
            return None
        low, high = (self.middle, self.middle) if zeros is None else (int(zeros.min()), int(zeros.max()))
        furthest = max(high, (1 << self.bits) - low)  # below zero, and one more than above
        return next((kind for kind, most in (("Q4_0", 8), ("Q5_0", 16), ("Q8_0", 128)) if furthest <= most), None)

    def _stretch(self, kind: str, rows: slice, columns: Tensor | None) -> Tensor:
        """Blocks of 32: a scale in half precision, and the numbers less their zeros."""
        numbers, scales = self.numbers(rows), self.side["scales"][rows].half()
        numbers = numbers if columns is None else numbers[:, columns]
        zeros = self.side["zeros"][rows, :, None] if "zeros" in self.side else self.middle
        centred = (numbers.view(*scales.shape, self.group).to(torch.int16) - zeros).view(-1, _BLOCK)
        scale = scales[..., None].expand(*scales.shape, self.group // _BLOCK).reshape(-1, 1).contiguous()
        return torch.cat((scale.view(torch.uint8), *_packed(kind, centred)), -1).view(len(numbers), -1)


def _packed(kind: str, numbers: Tensor) -> tuple[Tensor, ...]:
    if kind == "Q8_0":
        return (numbers.to(torch.int8).view(torch.uint8),)
    if kind == "Q4_0":
        return (nibbles((numbers + 8).to(torch.uint8), 16),)
    counted = (numbers + 16).to(torch.uint8)
    return fifth_bits(counted), nibbles(counted & 15, 16)

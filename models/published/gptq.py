"""GPTQ, as AutoGPTQ, GPTQModel and AutoRound write it: columns of whole words, down which the inputs run.

    qweight [in * bits / 32, out] int32      a stream of numbers down each column, the lowest bits first
    qzeros  [groups, out * bits / 32] int32  along each row; in files of the first version they are one too small
    scales  [groups, out]
    g_idx   [in] int32                       the group of each input, where they were taken in another order

The number of bits and the size of groups follow from the shapes: a file may have several.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..quantized import QuantizedTensor
from .bits import WIDTHS, fields
from .grouped import Grouped
from .stored import FLOATS, Stored


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GptqTensor(Grouped):
    """`data` is qweight."""

    def numbers(self, rows: slice) -> Tensor:
        return fields(self.data[:, rows].T, self.bits)

    def cut_rows(self, start: int, stop: int) -> Tensor:
        return self.data[:, start:stop]

    def cut_columns(self, start: int, stop: int) -> Tensor:
        return self.data[start * self.bits // 32 : stop * self.bits // 32]

    @property
    def shared(self) -> int:
        return 32 if self.bits == 3 else 32 // self.bits


@dataclass(frozen=True, slots=True)
class Gptq:
    """`group` is the size that config.json states; None: whole rows. `shifted`: zeros are stored one too small."""

    marks: ClassVar[tuple[str, ...]] = ("qweight",)
    others: ClassVar[tuple[str, ...]] = ("qzeros", "scales", "g_idx")

    group: int | None
    shifted: bool

    def read(self, stored: Stored) -> QuantizedTensor:
        words, scales = stored.matrix("qweight", torch.int32), stored.matrix("scales", *FLOATS)
        packed_zeros = stored.matrix("qzeros", torch.int32)
        groups, out = scales.shape
        bits = packed_zeros.shape[1] * 32 // out
        if bits not in WIDTHS or words.shape[1] != out:
            raise stored.error("qweight", f"and qzeros are no numbers of {_listed()} bits for {out} outputs")
        stored.expect("qzeros", (groups, out * bits // 32))
        columns = words.shape[0] * 32 // bits
        group, order = self._groups(stored, columns, groups)
        zeros = fields(packed_zeros, bits)
        if self.shifted:
            zeros = zeros + 1 & (1 << bits) - 1
        side = {"scales": scales.T} | ({} if order is None else {"order": order})
        if not bool((zeros == 1 << bits - 1).all()):
            side["zeros"] = zeros.T.contiguous()
        return GptqTensor(f"GPTQ {bits}-bit", (out, columns), words, side=side, bits=bits, group=group)

    def _groups(self, stored: Stored, columns: int, groups: int) -> tuple[int, Tensor | None]:
        """The columns that share a scale, and the order of groups where neighbours do not."""
        group = self.group or columns
        if -(-columns // group) != groups:
            group = -(-columns // groups)
        usual = torch.arange(columns, dtype=torch.int32) // group
        order = stored.take("g_idx", torch.int32) if stored.has("g_idx") else usual
        if order.shape != (columns,) or int(order.min()) < 0 or int(order.max()) >= groups:
            raise stored.error("g_idx", f"does not name one of {groups} groups for each of {columns} inputs")
        return group, None if columns % group == 0 and torch.equal(order, usual) else order


def _listed() -> str:
    return ", ".join(map(str, WIDTHS))

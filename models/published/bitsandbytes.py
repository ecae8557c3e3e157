"""bitsandbytes: four bits that choose among sixteen numbers, and LLM.int8's rows of whole numbers.

weight [out * in / 2, 1] uint8           two neighbours a byte, the first in the high bits, through all rows
weight.absmax [blocks]                   what blocks of neighbours are times; nested: bytes that choose
weight.nested_quant_map [256]            among these,
weight.nested_absmax [blocks / 256]      times this, and all of it plus an offset
weight.quant_map [16]                    the sixteen numbers
weight.quant_state.bitsandbytes__nf4     JSON as bytes: shape, sizes of blocks, the offset

weight [out, in] int8, SCB [out] fp32    number * SCB / 127; columns of outliers are numbers like all others
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Self

import torch
from torch import Tensor

from ..blocks import TABLES
from ..config import WIDEST, Keys
from ..encoding import nibbles
from ..quantized import INT8, PUBLISHED, QuantizedTensor
from .bits import fields
from .stored import FLOATS, Stored

if TYPE_CHECKING:
    from ..contract import Part

_STATE: Final = "weight.quant_state.bitsandbytes__"
_LONGEST_STATE: Final = 4096
_LARGEST: Final = 127
_BLOCK: Final = 64  # columns of a kernel's block, which share a scale
_HALF: Final = 16  # of them, in the low or the high bits of as many bytes


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ChosenTensor(QuantizedTensor):
    """`data` [rows, columns / 2] uint8. In `side`: "table", fp32 [16], and "scales", fp32 [rows, columns / group]."""

    layout: str = PUBLISHED
    group: int

    @property
    def block(self) -> int:
        return max(2, self.group)

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        halves, scales = fields(self.data[taken], 4), self.side["scales"][taken]
        places = halves.view(len(halves), -1, 2).flip(-1).flatten(-2)
        found = self.side["table"][places.int()]
        grouped = found.view(*scales.shape, self.group)
        grouped.mul_(scales[..., None])
        return found if out is None else out.copy_(found)

    def in_blocks(self) -> QuantizedTensor:
        """As blocks of 64 columns that begin with their scale; itself, where they choose among other numbers."""
        rows, columns = self.shape
        usual = torch.equal(self.side["table"], torch.tensor(TABLES[self.kind]))
        if not usual or self.group % _BLOCK:
            return self
        halves = fields(self.data, 4).view(rows, -1, 2).flip(-1).reshape(-1, 2 * _HALF)
        scales = self.side["scales"].repeat_interleave(self.group // _BLOCK, 1)[..., None].contiguous()
        chosen = nibbles(halves, _HALF).view(rows, columns // _BLOCK, -1)
        return QuantizedTensor(self.kind, self.shape, torch.cat((scales.view(torch.uint8), chosen), -1).flatten(1))

    def part(self, part: "Part") -> Self:
        """Some rows, or some columns at the borders of blocks."""
        start, stop, scales = part.start, part.stop, self.side["scales"]
        if part.dim == 0:
            shape, data, kept = (stop - start, self.shape[1]), self.data[start:stop], scales[start:stop]
        else:
            self.check_columns(part)
            shape, data = (self.shape[0], stop - start), self.data[:, start // 2 : stop // 2]
            kept = scales[:, start // self.group : stop // self.group]
        return replace(self, shape=shape, data=data, side={**self.side, "scales": kept})


@dataclass(frozen=True, slots=True)
class BitsAndBytes:
    """Which of its kinds a matrix is, its tensors say."""

    marks: ClassVar[tuple[str, ...]] = ("weight.absmax", "SCB")
    others: ClassVar[tuple[str, ...]] = (
        "weight",
        "weight_format",
        "weight.quant_map",
        "weight.nested_absmax",
        "weight.nested_quant_map",
        f"{_STATE}nf4",
        f"{_STATE}fp4",
    )

    def read(self, stored: Stored) -> QuantizedTensor:
        return _int8(stored) if stored.has("SCB") else _chosen(stored)


def _int8(stored: Stored) -> QuantizedTensor:
    numbers, largest = stored.matrix("weight", torch.int8), stored.take("SCB", torch.float32)
    if largest.shape != (len(numbers),):
        raise stored.error("SCB", f"is {list(largest.shape)} where one number for each of {len(numbers)} rows belongs")
    if stored.has("weight_format") and int(stored.tensors["weight_format"].max()):
        raise stored.error("weight_format", "says that the rows are in the order of a GPU's tiles; only rows are read")
    return QuantizedTensor(INT8, tuple(numbers.shape), numbers.view(torch.uint8), side={"scale": largest / _LARGEST})


def _chosen(stored: Stored) -> QuantizedTensor:
    kind = next((kind for kind in ("nf4", "fp4") if stored.has(_STATE + kind)), None)
    if kind is None:
        raise stored.error("weight", f"is packed, and {stored.name}.{_STATE}nf4 or fp4 is missing")
    state = _state(stored, _STATE + kind)
    (rows, columns), group = _shape(state), state.count("blocksize", most=WIDEST)
    packed, table = stored.take("weight", torch.uint8), stored.take("weight.quant_map", torch.float32)
    if packed.numel() * 2 != rows * columns or table.shape != (16,):
        raise stored.error("weight", f"and its map are not two bytes' numbers for [{rows}, {columns}]")
    if columns % group:
        raise stored.error("weight", f"has blocks of {group} numbers that cross its rows of {columns}")
    scales = _scales(stored, state)
    if scales.shape != (rows * columns // group,):
        raise stored.error("weight.absmax", f"has {scales.numel()} numbers for {rows * columns // group} blocks")
    side = {"table": table, "scales": scales.view(rows, -1)}
    return ChosenTensor(kind.upper(), (rows, columns), packed.view(rows, columns // 2), side=side, group=group)


def _state(stored: Stored, end: str) -> Keys:
    raw = stored.take(end, torch.uint8)
    if raw.numel() > _LONGEST_STATE:
        raise stored.error(end, f"has {raw.numel()} bytes, more than {_LONGEST_STATE}")
    try:
        found = json.loads(bytes(raw.tolist()))
    except (ValueError, RecursionError) as error:
        raise stored.error(end, "is not JSON") from error
    if not isinstance(found, Mapping):
        raise stored.error(end, "is not a JSON object")
    prefix = f"{stored.name}.{end}: "
    return Keys({prefix + str(key): value for key, value in found.items()}, prefix)


def _shape(state: Keys) -> tuple[int, int]:
    rows, columns = state.numbers("shape", 2, low=1, high=1 << 31)
    if not (rows.is_integer() and columns.is_integer()):
        raise state.error("shape", f"{rows}, {columns} are no sizes")
    return int(rows), int(columns)


def _scales(stored: Stored, state: Keys) -> Tensor:
    """fp32 [blocks]."""
    if not stored.has("weight.nested_absmax"):
        return stored.take("weight.absmax", *FLOATS).float()
    places, table = stored.take("weight.absmax", torch.uint8), stored.take("weight.nested_quant_map", torch.float32)
    outer = stored.take("weight.nested_absmax", torch.float32)
    group = state.count("nested_blocksize", most=WIDEST)
    offset = state.number("nested_offset", low=-1e9, high=1e9)
    if table.shape != (256,) or outer.shape != (-(-places.numel() // group),):
        raise stored.error("weight.nested_absmax", f"is {list(outer.shape)}, not one number for {group} blocks each")
    shares = outer.repeat_interleave(group)[: places.numel()]
    return table[places.int()] * shares + offset

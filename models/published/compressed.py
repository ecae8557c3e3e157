"""compressed-tensors, as LLM Compressor writes it: packed words, bytes, floats of 8 and 4 bits, told by the tensors.

weight_packed [out, words] int32    whole numbers of a row, as many as fit in a word, counted from half their range
weight_shape  [2]                   rows may end within a word
weight_scale  [out, groups], weight_zero_point [out * bits / 32, groups] int32, weight_g_idx [in]

weight [out, in] int8               weight_scale [out, groups] or one, weight_zero_point the same, int8
weight [out, in] float8_e4m3fn      weight_scale as in `float8.py`
weight_packed [out, in / 2] uint8   weight_scale [out, in / 32] uint8, powers of two; or as in `nvfp4.py`
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from ..errors import WeightsError
from ..quantized import INT8, QuantizedTensor
from . import mxfp4, nvfp4
from .bits import fields
from .float8 import KINDS as FLOAT8_KINDS
from .float8 import Float8
from .grouped import Grouped
from .stored import FLOATS, Stored

_WIDTHS: Final = (4, 8)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WordsTensor(Grouped):
    """`data` is weight_packed."""

    def numbers(self, rows: slice) -> Tensor:
        return fields(self.data[rows], self.bits)[:, : self.shape[1]]

    def cut_rows(self, start: int, stop: int) -> Tensor:
        return self.data[start:stop]

    def cut_columns(self, start: int, stop: int) -> Tensor:
        return self.data[:, start // self.shared : -(-stop // self.shared)]

    @property
    def shared(self) -> int:
        return 32 // self.bits


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BytesTensor(Grouped):
    """`data` is weight, int8 seen as uint8."""

    def numbers(self, rows: slice) -> Tensor:
        return self.data[rows] ^ self.middle

    def cut_rows(self, start: int, stop: int) -> Tensor:
        return self.data[start:stop]

    def cut_columns(self, start: int, stop: int) -> Tensor:
        return self.data[:, start:stop]

    @property
    def shared(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Compressed:
    """`tile` is what config.json says of the blocks of 8-bit floats, if it does."""

    marks: ClassVar[tuple[str, ...]] = ("weight_packed", "weight_scale")
    others: ClassVar[tuple[str, ...]] = (
        "weight",
        "weight_shape",
        "weight_zero_point",
        "weight_g_idx",
        "weight_global_scale",
        "input_global_scale",
        "input_scale",
        "input_zero_point",
    )

    tile: tuple[int, int] | None = None

    def read(self, stored: Stored) -> QuantizedTensor:
        if stored.has("weight_packed"):
            packed = stored.matrix("weight_packed", torch.int32, torch.uint8)
            if packed.dtype != torch.uint8:
                return _words(stored, packed)
            return nvfp4.read(stored, packed) if stored.has("weight_global_scale") else _mxfp4(stored, packed)
        weight = stored.matrix("weight", torch.int8, *FLOAT8_KINDS)
        return _bytes(stored, weight) if weight.dtype == torch.int8 else Float8(self.tile).read(stored)


def _words(stored: Stored, packed: Tensor) -> QuantizedTensor:
    shape = [int(size) for size in stored.take("weight_shape", torch.int64, torch.int32).flatten()]
    bits = next((bits for bits in _WIDTHS if shape[1:] and -(-shape[1] * bits // 32) == packed.shape[1]), None)
    if len(shape) != 2 or shape[0] != len(packed) or bits is None:
        raise stored.error("weight_shape", f"is {shape}, which {list(packed.shape)} words of 4 or 8 bits do not hold")
    rows, columns = shape
    scales = _spread(stored, (rows, columns))
    group = columns // scales.shape[1]
    side = {"scales": scales}
    if stored.has("weight_zero_point"):
        zeros = stored.matrix("weight_zero_point", torch.int32)
        stored.expect("weight_zero_point", (-(-rows * bits // 32), scales.shape[1]))
        side["zeros"] = fields(zeros.T, bits)[:, :rows].T.contiguous()
    if stored.has("weight_g_idx"):
        side |= _order(stored, columns, group, scales.shape[1])
    return WordsTensor(f"INT{bits} in words", (rows, columns), packed, side=side, bits=bits, group=group)


def _order(stored: Stored, columns: int, group: int, groups: int) -> dict[str, Tensor]:
    order = stored.take("weight_g_idx", torch.int32, torch.int64).to(torch.int32)
    if order.shape != (columns,) or int(order.min()) < 0 or int(order.max()) >= groups:
        raise stored.error("weight_g_idx", f"does not name one of {groups} groups for each of {columns} inputs")
    return {} if torch.equal(order, torch.arange(columns, dtype=torch.int32) // group) else {"order": order}


def _bytes(stored: Stored, weight: Tensor) -> QuantizedTensor:
    scales, data = _spread(stored, tuple(weight.shape)), weight.view(torch.uint8)
    zeros = _zeros(stored, tuple(scales.shape))
    if scales.shape[1] == 1 and zeros is None:
        return QuantizedTensor(INT8, tuple(weight.shape), data, side={"scale": scales[:, 0].float()})
    side = {"scales": scales} | ({} if zeros is None else {"zeros": zeros})
    group = weight.shape[1] // scales.shape[1]
    return BytesTensor("INT8 in groups", tuple(weight.shape), data, side=side, bits=8, group=group)


def _zeros(stored: Stored, shape: tuple[int, ...]) -> Tensor | None:
    """Counted as the numbers are, from the least; None where they are all nothing."""
    if not stored.has("weight_zero_point"):
        return None
    zeros = stored.take("weight_zero_point", torch.int8)
    if not bool(zeros.any()):
        return None
    flat = zeros.reshape(-1, 1) if zeros.dim() < 2 else zeros
    if flat.numel() != 1 and tuple(flat.shape) != shape:
        raise stored.error("weight_zero_point", f"is {list(zeros.shape)} where {list(shape)} belongs")
    return (flat.view(torch.uint8) ^ 128).expand(shape).contiguous()


def _spread(stored: Stored, shape: tuple[int, ...]) -> Tensor:
    """Scales as [out, groups]: of groups, of rows, or one for all."""
    scales = stored.take("weight_scale", *FLOATS)
    if scales.numel() == 1:
        return scales.reshape(1, 1).expand(shape[0], 1)
    found = scales.reshape(-1, 1) if scales.dim() == 1 else scales
    if found.dim() != 2 or len(found) != shape[0] or shape[1] % found.shape[1]:
        raise stored.error("weight_scale", f"is {list(scales.shape)}, which are no groups of {list(shape)}")
    return found


def _mxfp4(stored: Stored, packed: Tensor) -> QuantizedTensor:
    rows, columns = len(packed), packed.shape[1] * 2
    powers = stored.matrix("weight_scale", torch.uint8)
    if columns % mxfp4.BLOCK:
        raise WeightsError(f"{stored.name}: rows of {columns} numbers are no whole blocks of MXFP4")
    stored.expect("weight_scale", (rows, columns // mxfp4.BLOCK))
    data = mxfp4.blocks(packed.view(rows, -1, mxfp4.BLOCK // 2), powers)
    return QuantizedTensor(mxfp4.KIND, (rows, columns), data.flatten(1))

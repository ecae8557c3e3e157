"""Products of activations with weights, packed or as a file has them, as calls of the compiled library; and packing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from ...contract import Weight
from ...quantized import FILE, TILE_ROWS, TILED, QuantizedTensor
from .. import reference
from ..operands import in_rows
from . import library as c
from .calls import Caller
from .tape import NotRecordable

NUMBERS: Final = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}

_KINDS: Final = {
    "Q4_0": 2,
    "Q4_1": 3,
    "Q5_0": 6,
    "Q5_1": 7,
    "Q8_0": 8,
    "Q2_K": 10,
    "Q3_K": 11,
    "Q4_K": 12,
    "Q5_K": 13,
    "Q6_K": 14,
    "IQ4_NL": 20,
    "IQ4_XS": 23,
    "INT8": 24,
    "MXFP4": 39,
    "GRID1": 1001,
    "GRID2": 1002,
    "GRID3_XXS": 1003,
    "GRID3_S": 1004,
    "E4M3": 1101,
    "E5M2": 1102,
    "NF4": 1103,
    "FP4": 1104,
    "NVFP4": 1105,
}
_FLOATING: Final = frozenset(("E4M3", "E5M2", "NF4", "FP4"))  # activations meet these as they are
_COLUMNS: Final = "columns"  # which of the matrix's own each is, where they were sorted


class Products(Caller):
    """What it returns is new, unless it says otherwise."""

    def packs(self, weight: QuantizedTensor) -> bool:
        return len(weight.shape) in (2, 3) and weight.layout == FILE and self._packed_bytes(weight) > 0

    def pack(self, weight: QuantizedTensor) -> QuantizedTensor:
        """A copy of a weight that `packs` took, in tiles of 16 rows: [tiles, bytes of a tile]; of the matrices of
        several experts, one behind the other.
        """
        rows, columns = weight.shape[-2:]
        blocks = weight.data if weight.data.stride(1) == 1 else weight.data.contiguous()
        tiles, size = -(-rows // TILE_ROWS), self._packed_bytes(weight)
        count = len(blocks) // rows
        data = torch.empty(count * tiles, size // tiles, dtype=torch.uint8)
        scales = weight.side.get("scale")
        for each in range(count):
            self._library.unillm_pack(
                self._context.handle,
                _KINDS[weight.kind],
                blocks.data_ptr() + each * rows * blocks.stride(0),
                blocks.stride(0),
                None if scales is None else scales.data_ptr() + each * rows * scales.element_size(),
                rows,
                columns,
                data.data_ptr() + each * size,
            )
        side = {name: tensor for name, tensor in weight.side.items() if name == _COLUMNS}
        return replace(weight, layout=TILED, data=data, side=side)

    def linear(
        self,
        x: Tensor,
        weights: Sequence[QuantizedTensor],
        biases: Sequence[Tensor | None],
        onto: Tensor | None = None,
    ) -> Tensor:
        """x times each packed weight, side by side, the activations rounded once for all of them; added to `onto`."""
        if onto is not None and onto.dtype is not torch.float32:
            return onto + self.linear(x, weights, biases)
        x = in_rows(x)
        sizes = [weight.shape[0] for weight in weights]
        out = x.new_empty(x.shape[0], sum(sizes), dtype=torch.float32) if onto is None else onto
        if any(_COLUMNS in weight.side for weight in weights):
            for weight, own in zip(weights, torch.split_with_sizes(out, sizes, 1), strict=True):
                self._multiply(_sorted(x, weight), (weight,), own, accumulate=onto is not None)
        else:
            self._multiply(x, weights, out, accumulate=onto is not None)
        _add_biases(out, sizes, biases)
        return out.to(x.dtype)

    def _multiply(
        self,
        x: Tensor,
        weights: Sequence[QuantizedTensor],
        out: Tensor,
        *,
        accumulate: bool = False,
        gated: bool = False,
    ) -> None:
        products = (c.Product * len(weights))()
        address, stride = out.data_ptr(), out.stride(0)
        for product, weight in zip(products, weights, strict=True):
            size = weight.shape[0]
            product.weight, product.kind = weight.data.data_ptr(), _KINDS[weight.kind]
            product.accumulate, product.columns = accumulate, size
            product.y, product.y_stride = address, stride
            address += out.element_size() * size
        rows, depth = x.shape
        self._call(
            self._library.unillm_matmul,
            c.Multiplication(
                products, x.data_ptr(), x.stride(0), rows, depth, len(weights), NUMBERS[x.dtype], self.exact, gated
            ),
        )

    def unpacked_linear(
        self,
        x: Tensor,
        weights: Sequence[QuantizedTensor],
        biases: Sequence[Tensor | None],
        onto: Tensor | None = None,
    ) -> Tensor:
        """The same with weights that no kernel reads: by tiles of rows, as fp32. A tape would keep every tile."""
        if self._tape is not None:
            raise NotRecordable("it unpacks weights, tile by tile")
        return reference.packed_linear(
            x, weights, biases, onto, lambda some, tile: self.dense_linear(some, (tile,), (None,))
        )

    def experts(self, x: Tensor, weight: QuantizedTensor, chosen: Tensor) -> Tensor:
        """x [rows, in] times the matrices that `chosen` [rows, choices] names: [rows, choices, out]."""
        x, chosen = in_rows(x), chosen.contiguous()
        (count, columns, depth), (rows, choices) = weight.shape, chosen.shape
        out = torch.empty(rows, choices, columns)
        self._call(
            self._library.unillm_experts,
            c.Experts(
                weight.data.data_ptr(),
                x.data_ptr(),
                chosen.data_ptr(),
                out.data_ptr(),
                x.stride(0),
                columns,
                rows,
                choices,
                depth,
                columns,
                count,
                _KINDS[weight.kind],
                NUMBERS[x.dtype],
                self.exact,
            ),
        )
        return out.to(x.dtype)

    def dense_linear(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], onto: Tensor | None = None
    ) -> Tensor:
        """The same with weights as a file has them; the result has the type of x."""
        if onto is not None and onto.dtype is not x.dtype:
            return onto + self.dense_linear(x, weights, biases)
        x = in_rows(x)
        weights = [in_rows(weight) for weight in weights]
        sizes = [weight.shape[0] for weight in weights]
        out = x.new_empty(x.shape[0], sum(sizes)) if onto is None else onto
        products = (c.Product * len(weights))()
        address, stride = out.data_ptr(), out.stride(0)
        for product, weight in zip(products, weights, strict=True):
            product.weight, product.kind = weight.data_ptr(), NUMBERS[weight.dtype]
            product.weight_stride, product.columns = weight.stride(0), weight.shape[0]
            product.accumulate, product.y, product.y_stride = onto is not None, address, stride
            address += out.element_size() * weight.shape[0]
        self._call(
            self._library.unillm_dense,
            c.Multiplication(products, x.data_ptr(), x.stride(0), *x.shape, len(weights), NUMBERS[x.dtype], self.exact),
        )
        _add_biases(out, sizes, biases)
        return out

    def embedding(self, ids: Tensor, table: QuantizedTensor, dtype: torch.dtype) -> Tensor:
        """Rows of a packed table: exactly the numbers that are in the file."""
        ids = ids.contiguous()
        columns = table.shape[1]
        out = torch.empty(len(ids), columns)
        self._call(
            self._library.unillm_embed,
            c.Rows(
                table.data.data_ptr(), ids.data_ptr(), out.data_ptr(), columns, len(ids), columns, _KINDS[table.kind]
            ),
        )
        return out.to(dtype)

    def gates(
        self, x: Tensor, weights: Sequence[Weight], biases: Sequence[Tensor | None]
    ) -> tuple[QuantizedTensor, QuantizedTensor] | None:
        """The weights, where `silu_linear` takes them."""
        if self.exact or x.dtype is not torch.float32 or len(weights) != 2 or any(bias is not None for bias in biases):
            return None
        gate, up = weights
        if not isinstance(gate, QuantizedTensor) or not isinstance(up, QuantizedTensor):
            return None
        if gate.kind in _FLOATING or gate.side or up.side:
            return None
        alike = gate.layout == up.layout == TILED and gate.kind == up.kind and gate.shape == up.shape
        return (gate, up) if alike else None

    def silu_linear(self, x: Tensor, gate: QuantizedTensor, up: QuantizedTensor) -> Tensor:
        """silu of x times the one, times x times the other, of which nothing is written but the result."""
        x = in_rows(x)
        out = x.new_empty(x.shape[0], gate.shape[0])
        self._multiply(x, (gate, up), out, gated=True)
        return out

    def _packed_bytes(self, weight: QuantizedTensor) -> int:
        kind = _KINDS.get(weight.kind)
        return 0 if kind is None else int(self._library.unillm_packed_bytes(kind, *weight.shape[-2:]))


def _sorted(x: Tensor, weight: QuantizedTensor) -> Tensor:
    return x.index_select(1, weight.side[_COLUMNS]) if _COLUMNS in weight.side else x


def _add_biases(out: Tensor, sizes: Sequence[int], biases: Sequence[Tensor | None]) -> None:
    if any(bias is not None for bias in biases):
        for columns, bias in zip(torch.split(out, list(sizes), -1), biases, strict=True):
            if bias is not None:
                columns.add_(bias)

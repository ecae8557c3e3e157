"""The operations as calls of the compiled library: tensors in, tensors out.

This file knows tensors and the C structures; which call it serves is for the tables of `ops` to say. A `Kernels` is
made by whoever loads a model and reaches the operations through the model's layers.
"""

from collections.abc import Sequence
from ctypes import byref, c_int64
from dataclasses import replace
from typing import Final, Self

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from ...quantized import FILE, TILE_ROWS, TILED, QuantizedTensor
from .. import reference
from ..operands import Norm, Rotation
from . import library as c

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
}
_SILU: Final = 0
_Strides: Final = c_int64 * 3


class Kernels:
    """The kernels with their threads. `exact`: products take activations as they are, not rounded to 8 bits."""

    def __init__(self, context: c.Context, name: str, *, exact: bool = False) -> None:
        self.name, self.exact = name, exact
        self._context, self._library = context, context.library

    @classmethod
    def open(cls, threads: int, *, exact: bool = False, instruction_set: str | None = None) -> Self | None:
        """None where the package was built without them, or for another machine."""
        path = c.library_file()
        if path is None:
            return None
        try:
            loaded = c.library(path)
        except OSError:
            return None
        name = instruction_set or c.instruction_sets(loaded)[0]
        return cls(c.Context(loaded, threads, name), name, exact=exact)

    def packs(self, weight: QuantizedTensor) -> bool:
        return len(weight.shape) == 2 and weight.layout == FILE and self._packed_bytes(weight) > 0

    def pack(self, weight: QuantizedTensor) -> QuantizedTensor:
        """A copy of a weight that `packs` took, in tiles of 16 rows: [tiles, bytes of a tile]."""
        rows, columns = weight.shape
        blocks = weight.data if weight.data.stride(1) == 1 else weight.data.contiguous()
        data = torch.empty(
            -(-rows // TILE_ROWS), self._packed_bytes(weight) // -(-rows // TILE_ROWS), dtype=torch.uint8
        )
        self._library.unillm_pack(
            self._context.handle,
            _KINDS[weight.kind],
            blocks.data_ptr(),
            blocks.stride(0),
            None,
            rows,
            columns,
            data.data_ptr(),
        )
        return replace(weight, layout=TILED, data=data)

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
        x = _rows(x)
        sizes = [weight.shape[0] for weight in weights]
        out = x.new_empty(x.shape[0], sum(sizes), dtype=torch.float32) if onto is None else onto
        self._multiply(x, weights, out, accumulate=onto is not None)
        if any(bias is not None for bias in biases):
            for columns, bias in zip(torch.split(out, sizes, -1), biases, strict=True):
                if bias is not None:
                    columns.add_(bias)
        return out.to(x.dtype)

    def _multiply(self, x: Tensor, weights: Sequence[QuantizedTensor], out: Tensor, *, accumulate: bool) -> None:
        products = (c.Product * len(weights))()
        address, stride = out.data_ptr(), out.stride(0)
        for product, weight in zip(products, weights, strict=True):
            size = weight.shape[0]
            product.weight, product.kind = weight.data.data_ptr(), _KINDS[weight.kind]
            product.accumulate, product.columns = accumulate, size
            product.y, product.y_stride = address, stride
            address += out.element_size() * size
        self._library.unillm_matmul(
            self._context.handle,
            products,
            len(weights),
            x.data_ptr(),
            NUMBERS[x.dtype],
            x.stride(0),
            *x.shape,
            self.exact,
        )

    def embedding(self, ids: Tensor, table: QuantizedTensor, dtype: torch.dtype) -> Tensor:
        """Rows of a packed table: exactly the numbers that are in the file."""
        ids = ids.contiguous()
        out = torch.empty(len(ids), table.shape[1])
        self._library.unillm_embed(
            self._context.handle,
            _KINDS[table.kind],
            table.data.data_ptr(),
            table.shape[1],
            ids.data_ptr(),
            len(ids),
            out.data_ptr(),
            out.stride(0),
        )
        return out.to(dtype)

    def rms_norm(self, x: Tensor, norm: Norm) -> Tensor:
        x = _rows(x)
        out = torch.empty_like(x)
        rows, columns = x.shape
        weight = norm.weight.float()
        self._library.unillm_rms_norm(
            self._context.handle,
            byref(
                c.RmsNorm(
                    x.data_ptr(),
                    None,
                    weight.data_ptr(),
                    out.data_ptr(),
                    rows,
                    columns,
                    x.stride(0),
                    0,
                    out.stride(0),
                    NUMBERS[x.dtype],
                    norm.eps,
                    0.0,
                )
            ),
        )
        return out

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        gate_up = _rows(gate_up)
        rows, columns = gate_up.shape[0], gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, columns)
        gate, stride = gate_up.data_ptr(), gate_up.stride(0)
        up = gate + columns * gate_up.element_size()
        self._library.unillm_gated(
            self._context.handle,
            byref(
                c.Gate(gate, up, out.data_ptr(), rows, columns, stride, stride, columns, NUMBERS[gate_up.dtype], _SILU)
            ),
        )
        return out

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_norm: Norm | None,
        k_norm: Norm | None,
        rotation: Rotation | None,
        spec: AttentionSpec,
        cache: PagedView,
        batch: Batch,
    ) -> Tensor:
        """Norm, rotate, store, attend. q is overwritten where it is normed or rotated."""
        if (q_norm is None) != (k_norm is None) or (q_norm and k_norm and q_norm.eps != k_norm.eps):
            q, k = (x if norm is None else reference.rms_norm(x, norm) for x, norm in ((q, q_norm), (k, k_norm)))
            q_norm = k_norm = None
        q, k, v = (_heads(x) for x in (q, k, v))
        self._rotate_and_store(q, k, v, (q_norm, k_norm), rotation, cache)
        return self._attend(q, spec, cache, batch)

    def _rotate_and_store(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        norms: tuple[Norm | None, Norm | None],
        rotation: Rotation | None,
        cache: PagedView,
    ) -> None:
        """Norm and turn q, in place, and k; write k and v into their slots."""
        cos, sin = (
            (None, None) if rotation is None else (rotation.cos.float().contiguous(), rotation.sin.float().contiguous())
        )
        slots = cache.slots.contiguous()
        weights = [None if norm is None else norm.weight.float() for norm in norms]
        q_norm = norms[0]
        call = c.Rotation(
            q.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            cache.keys.data_ptr(),
            cache.values.data_ptr(),
            slots.data_ptr(),
            None if cos is None else cos.data_ptr(),
            None if sin is None else sin.data_ptr(),
            *(None if weight is None else weight.data_ptr() for weight in weights),
            q.shape[0],
            q.stride(0),
            k.stride(0),
            v.stride(0),
            _Strides(*cache.keys.stride()[:3]),
            _Strides(*cache.values.stride()[:3]),
            NUMBERS[q.dtype],
            NUMBERS[cache.keys.dtype],
            cache.keys.shape[1],
            q.shape[1],
            k.shape[1],
            q.shape[2],
            0 if cos is None else 2 * cos.shape[1],
            rotation is not None and rotation.interleaved,
            0.0 if q_norm is None else q_norm.eps,
            0.0,
        )
        self._library.unillm_rotate(self._context.handle, byref(call))

    def _attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        """Every new token over what it sees in the pages."""
        out = torch.empty(q.shape, dtype=q.dtype)
        sinks, alibi = (None if each is None else each.float().contiguous() for each in (spec.sinks, spec.alibi))
        call = c.Attention(
            q.data_ptr(),
            out.data_ptr(),
            cache.keys.data_ptr(),
            cache.values.data_ptr(),
            cache.table.data_ptr(),
            batch.starts.data_ptr(),
            batch.lengths.data_ptr(),
            None if sinks is None else sinks.data_ptr(),
            None if alibi is None else alibi.data_ptr(),
            q.stride(0),
            out.stride(0),
            _Strides(*cache.keys.stride()[:3]),
            _Strides(*cache.values.stride()[:3]),
            cache.table.stride(0),
            spec.window if spec.window is not None and spec.causal else 0,
            NUMBERS[q.dtype],
            NUMBERS[out.dtype],
            NUMBERS[cache.keys.dtype],
            len(batch.queries),
            cache.keys.shape[1],
            q.shape[1],
            cache.keys.shape[2],
            q.shape[2],
            spec.causal,
            self.exact,
            spec.scale,
            spec.softcap or 0.0,
        )
        self._library.unillm_attend(self._context.handle, byref(call))
        return out

    def _packed_bytes(self, weight: QuantizedTensor) -> int:
        kind = _KINDS.get(weight.kind)
        return 0 if kind is None else int(self._library.unillm_packed_bytes(kind, *weight.shape))


def _heads(x: Tensor) -> Tensor:
    """x [tokens, heads, head_dim] as the kernels take it: a token's numbers lie together."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


def _rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()

"""The operations as calls of the compiled library: tensors in, tensors out.

Here and in `products.py` and `scans.py` tensors and the C structures are known; which call one serves is for the tables
of `ops` to say. A `Kernels` is made by whoever loads a model and reaches the operations through the model's layers.
"""

from ctypes import c_int64
from typing import Any, Final

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from .. import reference
from ..operands import Norm, Rotation, heads_together, in_rows
from . import library as c
from .products import NUMBERS, Products
from .scans import Scans

PAGES: Final = NUMBERS | {torch.int8: 24}  # what pages of the cache may hold

_SILU: Final = 0
_GELU_TANH: Final = 1
_Strides: Final = c_int64 * 3


class Kernels(Products, Scans):
    """The operations that the library has. What it returns is new, unless it says otherwise."""

    def turns(self, positions: Tensor, frequencies: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions [tokens] times frequencies [pairs] or [tokens, pairs]."""
        positions, frequencies = positions.contiguous(), frequencies.contiguous()
        tokens, pairs = positions.shape[0], frequencies.shape[-1]
        cosines, sines = torch.empty(tokens, pairs), torch.empty(tokens, pairs)
        self._call(
            self._library.unillm_turns,
            c.Turning(
                positions.data_ptr(),
                frequencies.data_ptr(),
                cosines.data_ptr(),
                sines.data_ptr(),
                tokens,
                pairs,
                pairs if frequencies.dim() == 2 else 0,
                factor,
            ),
        )
        return cosines, sines

    def largest(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The largest of each row, NaN where one is not a number, and its place: the first, if there are several."""
        scores = in_rows(scores)
        rows, columns = scores.shape
        indices, largest = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        self._call(
            self._library.unillm_argmax,
            c.Choice(scores.data_ptr(), indices.data_ptr(), largest.data_ptr(), scores.stride(0), rows, columns),
        )
        return largest, indices

    def rms_norm(self, x: Tensor, norm: Norm, onto: Tensor | None = None) -> Tensor:
        x = in_rows(x)
        out = torch.empty_like(x)
        rows, columns = x.shape
        weight = norm.weight.float()
        self._call(
            self._library.unillm_rms_norm,
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
            ),
        )
        return out if onto is None else onto + out

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        return self._gated(gate_up, _SILU)

    def gelu_mul(self, gate_up: Tensor) -> Tensor:
        return self._gated(gate_up, _GELU_TANH)

    def _gated(self, gate_up: Tensor, curve: int) -> Tensor:
        gate_up = in_rows(gate_up)
        rows, columns = gate_up.shape[0], gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, columns)
        gate, stride = gate_up.data_ptr(), gate_up.stride(0)
        up = gate + columns * gate_up.element_size()
        self._call(
            self._library.unillm_gated,
            c.Gate(gate, up, out.data_ptr(), rows, columns, stride, stride, columns, NUMBERS[gate_up.dtype], curve),
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
        q, k, v = (heads_together(x) for x in (q, k, v))
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
        scales, scale_strides = _scales(cache)
        weights = [None if norm is None else norm.weight.float() for norm in norms]
        q_norm = norms[0]
        call = c.Rotation(
            q.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            cache.keys.data_ptr(),
            cache.values.data_ptr(),
            *scales,
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
            scale_strides,
            NUMBERS[q.dtype],
            PAGES[cache.keys.dtype],
            cache.keys.shape[1],
            q.shape[1],
            k.shape[1],
            q.shape[2],
            0 if cos is None else 2 * cos.shape[1],
            rotation is not None and rotation.interleaved,
            0.0 if q_norm is None else q_norm.eps,
            0.0,
        )
        self._call(self._library.unillm_rotate, call)

    def _attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        """Every new token over what it sees in the pages."""
        out = torch.empty(q.shape, dtype=q.dtype)
        scales, scale_strides = _scales(cache)
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
            *scales,
            q.stride(0),
            out.stride(0),
            _Strides(*cache.keys.stride()[:3]),
            _Strides(*cache.values.stride()[:3]),
            scale_strides,
            cache.table.stride(0),
            spec.window if spec.window is not None and spec.causal else 0,
            spec.chunk if spec.chunk is not None and spec.causal else 0,
            NUMBERS[q.dtype],
            NUMBERS[out.dtype],
            PAGES[cache.keys.dtype],
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
        self._call(self._library.unillm_attend, call)
        return out


def _scales(cache: PagedView) -> tuple[tuple[int | None, int | None], Any]:
    """Where the scales of a cache of 8-bit integers lie, and how far apart; of another there are none."""
    if cache.key_scales is None or cache.value_scales is None:
        return (None, None), _Strides()
    strides = _Strides(*cache.key_scales.stride())
    return (cache.key_scales.data_ptr(), cache.value_scales.data_ptr()), strides

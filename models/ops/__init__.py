"""Tensor operations with a choice of backend: free functions that models are made of.

A call looks its implementation up in the operation's table, by the kind of weight or of numbers, where it runs and the
number of rows. Model code never asks which device it is on; the `kernels` that it hands on are those of its placement.
`reference.py` and `reference_attention.py` serve whatever nothing faster does.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import torch
from torch import Tensor

from ..blocks import FLOATS, GRIDS, PACKED_KINDS
from ..contract import AttentionSpec, Batch, PagedView, Weight
from ..planes import PLANES
from ..quantized import INT8, PUBLISHED, TILED, QuantizedTensor
from . import gpu, gpu_products, reference, reference_attention
from .cpu.kernels import PAGES, Kernels
from .cpu.products import NUMBERS
from .mixers import leaving, paces, unit
from .operands import GatedNorm, Matrices, Norm, Pace, Rotation, Skip
from .reference_matrix import Step
from .scans import causal_conv, gated_scan, matrix_scan, previous, selective_scan, weighted_mean
from .table import COMPILED, DENSE, Entry, Table, kind_of, place_of

__all__ = [
    "GatedNorm",
    "Matrices",
    "Norm",
    "Pace",
    "Rotation",
    "Skip",
    "Step",
    "attention",
    "causal_conv",
    "embedding",
    "experts",
    "gated_scan",
    "gelu_mul",
    "layer_norm",
    "leaving",
    "linear",
    "matrix_scan",
    "paces",
    "previous",
    "rms_norm",
    "rotate",
    "selective_scan",
    "silu_linear",
    "silu_mul",
    "turns",
    "unit",
    "weighted_mean",
]

_Run: TypeAlias = Callable[..., Tensor]


def _plain(run: _Run) -> _Run:
    """An implementation that needs no kernels."""
    return lambda _, *operands: run(*operands)


_DENSE: Final = frozenset({DENSE})
_FILE: Final = frozenset(PACKED_KINDS) | GRIDS.keys() | FLOATS.keys() | {INT8}
_TILED: Final = frozenset({TILED})
_PUBLISHED: Final = frozenset({PUBLISHED})
_PLANES: Final = frozenset({PLANES})
_HERE: Final = frozenset({COMPILED})
_GPU: Final = frozenset({"cuda"})
_TRITON: Final = _GPU if gpu.INSTALLED else frozenset[str]()
_FLOATS: Final = frozenset(str(dtype) for dtype in NUMBERS)
_PAGES: Final = frozenset(str(dtype) for dtype in PAGES)
_GPU_PAGES: Final = frozenset(str(dtype) for dtype in gpu.PAGES)

_LINEAR: Table[_Run] = Table(
    (
        Entry(Kernels.dense_linear, _DENSE, _HERE),
        Entry(_plain(gpu.dense_linear), _DENSE, _GPU),
        Entry(_plain(reference.dense_linear), _DENSE),
        Entry(Kernels.linear, _TILED, _HERE),
        Entry(Kernels.unpacked_linear, _PUBLISHED, _HERE),
        Entry(_plain(gpu_products.linear), _PLANES, _TRITON),
        Entry(_plain(reference.packed_linear), _FILE | _PUBLISHED | _PLANES),
    )
)
_EXPERTS: Table[_Run] = Table(
    (
        Entry(Kernels.experts, _TILED, _HERE),
        Entry(_plain(gpu_products.experts), _DENSE | _PLANES, _TRITON),
        Entry(_plain(reference.experts)),
    )
)
_EMBEDDING: Table[_Run] = Table(
    (
        Entry(_plain(reference.dense_embedding), _DENSE),
        Entry(Kernels.embedding, _TILED, _HERE),
        Entry(_plain(gpu_products.embedding), _PLANES, _TRITON),
        Entry(_plain(reference.packed_embedding), _FILE | _PUBLISHED | _PLANES),
    )
)
_RMS_NORM: Table[_Run] = Table(
    (
        Entry(Kernels.rms_norm, _FLOATS, _HERE),
        Entry(_plain(gpu.rms_norm), _FLOATS, _TRITON),
        Entry(_plain(reference.rms_norm)),
    )
)
_SILU_MUL: Table[_Run] = Table(
    (
        Entry(Kernels.silu_mul, _FLOATS, _HERE),
        Entry(_plain(gpu.silu_mul), _FLOATS, _TRITON),
        Entry(_plain(reference.silu_mul)),
    )
)
_GELU_MUL: Table[_Run] = Table(
    (
        Entry(Kernels.gelu_mul, _FLOATS, _HERE),
        Entry(_plain(gpu.gelu_mul), _FLOATS, _TRITON),
        Entry(_plain(reference.gelu_mul)),
    )
)
_TURNS: Table[Callable[..., tuple[Tensor, Tensor]]] = Table(
    (Entry(Kernels.turns, devices=_HERE), Entry(lambda _, *operands: reference.turns(*operands)))
)
_ATTENTION: Table[_Run] = Table(
    (
        Entry(Kernels.attention, _PAGES, _HERE),
        Entry(_plain(gpu.attention), _GPU_PAGES, _TRITON),
        Entry(_plain(reference_attention.attention)),
    )
)


def linear(
    x: Tensor,
    weights: Sequence[Weight],
    biases: Sequence[Tensor | None],
    kernels: Kernels | None = None,
    onto: Tensor | None = None,
) -> Tensor:
    """x [rows, in] times each weight [out, in], side by side: [rows, sum of outs]; added to `onto`, which may be
    overwritten.
    """
    kinds = {kind_of(weight) for weight in weights}
    if len(kinds) == 1:
        return _LINEAR.choose(kinds.pop(), place_of(x, kernels), x.shape[0])(kernels, x, weights, biases, onto)
    outs = [linear(x, (weight,), (bias,), kernels) for weight, bias in zip(weights, biases, strict=True)]
    return reference.added(torch.cat(outs, -1), onto)


def experts(x: Tensor, weight: Matrices, chosen: Tensor, kernels: Kernels | None = None) -> Tensor:
    """x [rows, in] times those matrices of `weight` [experts, out, in] that `chosen` [rows, choices] int64 names:
    [rows, choices, out]. For a second projection, of choices that differ, flatten: [rows * choices, in] with [.., 1].
    """
    if isinstance(weight, tuple) and any(isinstance(one, QuantizedTensor) for one in weight):
        return reference.experts(x, weight, chosen, lambda some, one: linear(some, (weight[one],), (None,), kernels))
    kind = DENSE if isinstance(weight, tuple) else kind_of(weight)
    return _EXPERTS.choose(kind, place_of(x, kernels), x.shape[0])(kernels, x, weight, chosen)


def embedding(ids: Tensor, table: Weight, dtype: torch.dtype, kernels: Kernels | None = None) -> Tensor:
    """Rows of `table`: [tokens, columns]."""
    return _EMBEDDING.choose(kind_of(table), place_of(ids, kernels), ids.shape[0])(kernels, ids, table, dtype)


def rms_norm(x: Tensor, norm: Norm, kernels: Kernels | None = None, onto: Tensor | None = None) -> Tensor:
    """Of x [rows, columns]; added to `onto`, which stays as it is."""
    return _RMS_NORM.choose(str(x.dtype), place_of(x, kernels), x.shape[0])(kernels, x, norm, onto)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Over the last dimension of x; `weight` and `bias` are fp32 and as wide, None where the norm has none."""
    return reference.layer_norm(x, weight, bias, eps)


def silu_linear(
    x: Tensor, weights: Sequence[Weight], biases: Sequence[Tensor | None], kernels: Kernels | None = None
) -> Tensor:
    """silu(x times the first of two weights) * (x times the second): [rows, out]."""
    pair = kernels.gates(x, weights, biases) if kernels is not None and place_of(x, kernels) == COMPILED else None
    if kernels is not None and pair is not None:
        return kernels.silu_linear(x, *pair)
    return silu_mul(linear(x, weights, biases, kernels), kernels)


def silu_mul(gate_up: Tensor, kernels: Kernels | None = None) -> Tensor:
    """silu(gate) * up, of [rows, gate and up side by side]."""
    return _SILU_MUL.choose(str(gate_up.dtype), place_of(gate_up, kernels), gate_up.shape[0])(kernels, gate_up)


def gelu_mul(gate_up: Tensor, kernels: Kernels | None = None) -> Tensor:
    """gelu(gate) * up by tanh, of [rows, gate and up side by side]."""
    return _GELU_MUL.choose(str(gate_up.dtype), place_of(gate_up, kernels), gate_up.shape[0])(kernels, gate_up)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the pairs of each head of x [tokens, heads, head_dim], where `attention` does not: of a latent's key."""
    return reference.rotate(x, rotation)


def turns(
    positions: Tensor, frequencies: Tensor, factor: float, kernels: Kernels | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines, fp32 [tokens, pairs], of positions [tokens] times frequencies [pairs] or [tokens, pairs], each
    times `factor`.
    """
    run = _TURNS.choose(DENSE, place_of(positions, kernels), positions.shape[0])
    return run(kernels, positions, frequencies, factor)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    spec: AttentionSpec,
    cache: PagedView,
    batch: Batch,
    rotation: Rotation | None = None,
    q_norm: Norm | None = None,
    k_norm: Norm | None = None,
    kernels: Kernels | None = None,
) -> Tensor:
    """One layer's attention, all of it: norm and rotate q and k, store k and v at the view's slots, attend.

    q [tokens, heads, head_dim] and k, v [tokens, kv_heads, head_dim] are unrotated; the result is shaped as q. The
    view's pages are written; q may be overwritten.
    """
    if batch.attention is not None:
        return batch.attention(q, k, v, q_norm, k_norm, rotation, spec, cache, batch)
    run = _ATTENTION.choose(str(cache.keys.dtype), place_of(q, kernels), q.shape[0])
    return run(kernels, q, k, v, q_norm, k_norm, rotation, spec, cache, batch)

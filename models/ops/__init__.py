"""Tensor operations with a choice of backend: free functions that models are made of.

A call looks its implementation up in the operation's table, by the kind of weight, the device and the number of rows.
Model code never asks which device it is on. `reference.py` and `reference_attention.py` serve whatever nothing faster
does.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..contract import AttentionSpec, Batch, PagedView, Weight
from . import reference, reference_attention
from .operands import Norm, Rotation
from .table import DENSE, Entry, Table, kind_of

__all__ = ["Norm", "Rotation", "attention", "embedding", "linear", "rms_norm", "silu_mul"]

_Linear: TypeAlias = Callable[[Tensor, Any, Tensor | None], Tensor]
_Embedding: TypeAlias = Callable[[Tensor, Any, torch.dtype], Tensor]

_DENSE = frozenset({DENSE})

_LINEAR: Table[_Linear] = Table((Entry(reference.dense_linear, _DENSE), Entry(reference.packed_linear)))
_EMBEDDING: Table[_Embedding] = Table((Entry(reference.dense_embedding, _DENSE), Entry(reference.packed_embedding)))
_ATTENTION = Table((Entry(reference_attention.attention),))


def linear(x: Tensor, weights: Sequence[Weight], biases: Sequence[Tensor | None]) -> Tensor:
    """x [rows, in] times each weight [out, in], side by side: [rows, sum of outs]."""
    outs = []
    for weight, bias in zip(weights, biases, strict=True):
        run = _LINEAR.choose(kind_of(weight), x.device.type, len(x))
        outs.append(run(x, weight, bias))
    return outs[0] if len(outs) == 1 else torch.cat(outs, -1)


def embedding(ids: Tensor, table: Weight, dtype: torch.dtype) -> Tensor:
    """Rows of `table`: [tokens, columns]."""
    return _EMBEDDING.choose(kind_of(table), ids.device.type, len(ids))(ids, table, dtype)


def rms_norm(x: Tensor, norm: Norm) -> Tensor:
    return reference.rms_norm(x, norm)


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, of [rows, gate and up side by side]."""
    return reference.silu_mul(gate_up)


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
) -> Tensor:
    """One layer's attention, all of it: norm and rotate q and k, store k and v at the view's slots, attend.

    q [tokens, heads, head_dim] and k, v [tokens, kv_heads, head_dim] are unrotated; the result is shaped as q. The
    view's pages are written.
    """
    run = _ATTENTION.choose(str(cache.keys.dtype), q.device.type, len(q))
    return run(q, k, v, q_norm, k_norm, rotation, spec, cache, batch)

"""Self-attention over the cache: project, hand everything to one operation, project back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import AttentionSpec, Batch, PagedLayer, PagedView, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .linear import Linear
from .split import Split


@dataclass(frozen=True, slots=True)
class Heads:
    """How many heads ask, how many answer, and how wide each is."""

    queries: int
    keys: int
    dim: int


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; optionally each head's query and key are normalised first."""

    def __init__(
        self,
        qkv: Linear,
        out: Linear,
        head_dim: int,
        spec: AttentionSpec,
        q_norm: ops.Norm | None = None,
        k_norm: ops.Norm | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.qkv, self.out, self.head_dim, self.spec = qkv, out, head_dim, spec
        self.q_norm, self.k_norm = q_norm, k_norm
        self.head_counts = [size // head_dim for size in qkv.sizes]

    def forward(
        self, x: Tensor, rotation: ops.Rotation, batch: Batch, cache: PagedView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        heads = self.qkv(x).view(x.shape[0], -1, self.head_dim)
        q, k, v = torch.split_with_sizes(heads, self.head_counts, 1)
        mixed = ops.attention(
            q,
            k,
            v,
            spec=self.spec,
            cache=cache,
            batch=batch,
            rotation=rotation,
            q_norm=self.q_norm,
            k_norm=self.k_norm,
            kernels=self.kernels,
        )
        out: Tensor = self.out(mixed.flatten(1), onto)
        return out

    def cache_layer(self) -> PagedLayer:
        """What this layer, on this rank, keeps of a sequence."""
        return PagedLayer(self.head_counts[1], self.head_dim, self.spec.window)

    def own_weights(self) -> Iterator[Weight]:
        yield from (norm.weight for norm in (self.q_norm, self.k_norm) if norm is not None)

    @classmethod
    def load(
        cls,
        place: Checkpoint,
        hidden: int,
        heads: Heads,
        spec: AttentionSpec,
        *,
        qkv_bias: bool | None = False,
        out_bias: bool | None = False,
        norm_eps: float | None = None,
    ) -> Self:
        """`norm_eps`: the checkpoint has norms of each head's query and key."""
        projections = (place / "q_proj", place / "k_proj", place / "v_proj")
        wide, narrow = heads.queries * heads.dim, heads.keys * heads.dim
        qkv = Linear.load(projections, hidden, (wide, narrow, narrow), Split("heads", heads.dim), qkv_bias)
        out = Linear.load((place / "o_proj",), wide, (hidden,), Split("columns", heads.dim), out_bias)
        q_norm, k_norm = (_head_norm(place / name, heads.dim, norm_eps) for name in ("q_norm", "k_norm"))
        return cls(qkv, out, heads.dim, spec, q_norm, k_norm, place.place.kernels)


def _head_norm(place: Checkpoint, head_dim: int, eps: float | None) -> ops.Norm | None:
    return None if eps is None else ops.Norm((place / "weight").vector(head_dim), eps)

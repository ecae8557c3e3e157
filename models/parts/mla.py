"""Multi-head latent attention: what is kept of a token is one narrow vector for all heads, and a key that turns.

Each head's own keys and values are never made: the matrix from latents to keys is applied to the queries instead, and
that to values to what attention mixed. So attention itself is many heads that ask and one that answers, whose keys are
its values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import AttentionSpec, Batch, LatentLayer, PagedView, Part, Weight
from ..ops.cpu.kernels import Kernels
from ..quantized import QuantizedTensor
from .checkpoint import Checkpoint
from .linear import Linear
from .norm import RMSNorm
from .split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """The sizes: `rank` of the latent, `query_rank` of that of queries, where they have one; of each head's key the
    numbers that stay and those that turn; of its value; the norms' eps.
    """

    heads: int
    rank: int
    query_rank: int | None
    still: int
    turning: int
    value: int
    eps: float

    @property
    def width(self) -> int:
        """Of what is kept of a token."""
        return self.rank + self.turning

    @property
    def key(self) -> int:
        return self.still + self.turning


class Queries(nn.Module):
    """Each head's query, by way of a latent of their own or without."""

    def __init__(self, up: Linear, down: Linear | None = None, norm: RMSNorm | None = None) -> None:
        super().__init__()
        self.up, self.down, self.norm = up, down, norm

    def forward(self, x: Tensor) -> Tensor:
        if self.down is not None and self.norm is not None:
            x = self.norm(self.down(x))
        out: Tensor = self.up(x)
        return out

    @classmethod
    def load(cls, place: Checkpoint, hidden: int, sizes: Latent, bias: bool | None) -> Self:
        rows, split = (sizes.heads * sizes.key,), Split("heads", sizes.key)
        if sizes.query_rank is None:
            return cls(Linear.load((place / "q_proj",), hidden, rows, split))
        return cls(
            Linear.load((place / "q_b_proj",), sizes.query_rank, rows, split),
            Linear.load((place / "q_a_proj",), hidden, (sizes.query_rank,), bias=bias),
            RMSNorm.load(place / "q_a_layernorm", sizes.query_rank, sizes.eps),
        )


class PerHead(nn.Module):
    """x [tokens, heads, in] times a matrix for each head, of `weight` [heads, out, in]."""

    def __init__(self, weight: Weight, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.weight, self.kernels = weight, kernels
        self.heads = torch.arange(weight.shape[0], device=weight.device)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weight, QuantizedTensor):
            each = self.heads.repeat(x.shape[0], 1)
            return ops.experts(x.flatten(0, 1), self.weight, each, self.kernels).view(*x.shape[:2], -1)
        return torch.bmm(x.transpose(0, 1), self.weight.transpose(1, 2).to(x.dtype)).transpose(0, 1)

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight


class MLA(nn.Module):
    """Attention over latents. Ranks divide the heads; each has all latents."""

    def __init__(
        self,
        queries: Queries,
        compress: Linear,
        norm: RMSNorm,
        keys: PerHead,
        values: PerHead,
        out: Linear,
        sizes: Latent,
        spec: AttentionSpec,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.queries, self.compress, self.norm, self.keys, self.values = queries, compress, norm, keys, values
        self.out, self.sizes, self.spec, self.kernels = out, sizes, spec, kernels

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        sizes = self.sizes
        still, asked = self.queries(x).view(len(x), -1, sizes.key).split((sizes.still, sizes.turning), -1)
        latent, key = self.compress(x).split((sizes.rank, sizes.turning), -1)
        key = key[:, None]
        if rotation is not None:
            asked, key = ops.rotate(asked, rotation), ops.rotate(key, rotation)
        kept = torch.cat((self.norm(latent)[:, None], key), -1)
        query = torch.cat((self.keys(still), asked), -1)
        mixed = ops.attention(query, kept, kept, spec=self.spec, cache=cache, batch=batch, kernels=self.kernels)
        out: Tensor = self.out(self.values(mixed[..., : sizes.rank]).flatten(1), onto)
        return out

    def cache_layer(self) -> LatentLayer:
        """What this layer keeps of a sequence."""
        return LatentLayer(1, self.sizes.width, self.spec.window)

    @classmethod
    def load(
        cls, place: Checkpoint, hidden: int, sizes: Latent, spec: AttentionSpec, bias: bool | None = False
    ) -> Self:
        kernels, rows = place.place.kernels, (sizes.rank + sizes.turning,)
        keys, values = _halves(place, sizes)
        split = Split("columns", sizes.value)
        return cls(
            Queries.load(place, hidden, sizes, bias),
            Linear.load((place / "kv_a_proj_with_mqa",), hidden, rows, bias=bias),
            RMSNorm.load(place / "kv_a_layernorm", sizes.rank, sizes.eps),
            PerHead(keys, kernels),
            PerHead(values, kernels),
            Linear.load((place / "o_proj",), sizes.heads * sizes.value, (hidden,), split, bias),
            sizes,
            spec,
            kernels,
        )


def _halves(place: Checkpoint, sizes: Latent) -> tuple[Weight, Weight]:
    """From still numbers of queries to latents [heads, rank, still], and from latents to values [heads, value, rank]:
    as GGUF has them, or one matrix of all heads' keys and values, [heads * (still + value), rank].
    """
    share = Split("heads").part(sizes.heads, place.place, place.name)
    keys, values, both = (place / f"{name}_b_proj" / "weight" for name in ("k", "v", "kv"))
    if keys.exists():
        return (
            keys.matrix((sizes.heads, sizes.rank, sizes.still), share),
            values.matrix((sizes.heads, sizes.value, sizes.rank), share),
        )
    unit = sizes.still + sizes.value
    part = None if share is None else Part(0, share.start * unit, share.stop * unit)
    found = both.as_stored().matrix((sizes.heads * unit, sizes.rank), part)
    found = found if isinstance(found, Tensor) else found.dequantize(place.place.dtype)
    each = found.view(-1, unit, sizes.rank)
    return both.settled(each[:, : sizes.still].transpose(1, 2)), both.settled(each[:, sizes.still :])

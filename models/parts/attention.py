"""Self-attention over the cache: project, hand everything to one operation, project back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import AttentionSpec, Batch, PagedLayer, PagedView, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .linear import Linear
from .split import Split

Order: TypeAlias = Literal["stacked", "grouped"]
Norms: TypeAlias = tuple[nn.Module, nn.Module]


@dataclass(frozen=True, slots=True)
class Heads:
    """How many heads ask, how many answer, and how wide each is."""

    queries: int
    keys: int
    dim: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Rows of the projections to queries, keys and values."""
        return self.queries * self.dim, self.keys * self.dim, self.keys * self.dim

    @property
    def group(self) -> int:
        """How many heads ask one that answers."""
        return self.queries // self.keys


class Attention(nn.Module):
    """Grouped-query attention; optionally each head's query and key are normalised first.

    `grouped`: the projection's rows are, for each head that answers, the queries that ask it, its key and its value.
    `norms` are of all heads of query and key, [tokens, heads, head_dim] each; `clip` bounds what is projected, and
    normed by these; `sharpened` gives what the queries of tokens at some positions are multiplied by; `counts` are the
    heads of queries, keys and values, where these are not a weight each. `gated`: behind each head's query is what
    gates its result.
    """

    def __init__(
        self,
        qkv: Linear,
        out: Linear,
        head_dim: int,
        spec: AttentionSpec,
        q_norm: ops.Norm | None = None,
        k_norm: ops.Norm | None = None,
        kernels: Kernels | None = None,
        *,
        grouped: int | None = None,
        norms: Norms | None = None,
        clip: float | None = None,
        sharpened: Callable[[Tensor], Tensor] | None = None,
        counts: tuple[int, int, int] | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.qkv, self.out, self.head_dim, self.spec = qkv, out, head_dim, spec
        self.q_norm, self.k_norm = q_norm, k_norm
        self.grouped, self.clip, self.sharpened, self.gated = grouped, clip, sharpened, gated
        self.q_whole: nn.Module | None = norms[0] if norms else None
        self.k_whole: nn.Module | None = norms[1] if norms else None
        self.head_counts = _head_counts(qkv, head_dim, grouped) if counts is None else list(counts)

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        q, k, v = self._project(x)
        gate = q[:, 1::2] if self.gated else None
        q = q[:, 0::2].contiguous() if self.gated else q
        if self.sharpened is not None:
            q = (q * self.sharpened(batch.positions)[:, None, None]).to(x.dtype)
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
        mixed = mixed if gate is None else mixed * gate.sigmoid()
        out: Tensor = self.out(mixed.flatten(1), onto)
        return out

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [tokens, heads, head_dim], unrotated."""
        flat = self.qkv(x)
        if self.clip is not None and self.q_whole is None:
            flat = flat.clamp(-self.clip, self.clip)
        heads = flat.view(x.shape[0], -1, self.head_dim)
        if self.grouped is None:
            q, k, v = torch.split_with_sizes(heads, self.head_counts, 1)
        else:
            groups = heads.view(x.shape[0], self.head_counts[1], -1, self.head_dim)
            q, k, v = torch.split_with_sizes(groups, [self.grouped, 1, 1], 2)
            q, k, v = q.flatten(1, 2), k.squeeze(2), v.squeeze(2)
        if self.q_whole is not None and self.k_whole is not None:
            q, k = self.q_whole(q), self.k_whole(k)
            if self.clip is not None:
                q, k, v = (each.clamp(-self.clip, self.clip) for each in (q, k, v))
        return q, k, v

    def cache_layer(self) -> PagedLayer:
        """What this layer, on this rank, keeps of a sequence."""
        return PagedLayer(self.head_counts[1], self.head_dim, self.spec.window or self.spec.chunk)

    def own_weights(self) -> Iterator[Weight]:
        yield from (norm.weight for norm in (self.q_norm, self.k_norm) if norm is not None)
        if self.spec.sinks is not None:
            yield self.spec.sinks

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
        norm_offset: float = 0.0,
        norms: Norms | None = None,
        order: Order | None = None,
        clip: float | None = None,
        sharpened: Callable[[Tensor], Tensor] | None = None,
        gated: bool = False,
    ) -> Self:
        """`norm_eps`: the checkpoint has norms of each head's query and key. `order`: how `qkv_proj` has the three in
        one matrix; in a GGUF they are stacked, wherever they are one.
        """
        qkv, grouped = _load_qkv(place, hidden, heads, qkv_bias, order, gated)
        unit = heads.dim if grouped is None else heads.group * heads.dim
        out = Linear.load((place / "o_proj",), heads.sizes[0], (hidden,), Split("columns", unit), out_bias)
        offset = 0.0 if place.in_gguf else norm_offset
        q_norm, k_norm = (_head_norm(place / name, heads.dim, norm_eps, offset) for name in ("q_norm", "k_norm"))
        return cls(
            qkv,
            out,
            heads.dim,
            _share_of(spec, heads, grouped, place),
            q_norm,
            k_norm,
            place.place.kernels,
            grouped=grouped,
            norms=norms,
            clip=clip,
            sharpened=sharpened,
            gated=gated,
        )


def _head_counts(qkv: Linear, head_dim: int, grouped: int | None) -> list[int]:
    if grouped is None:
        return [size // head_dim for size in qkv.sizes]
    answering = sum(qkv.sizes) // head_dim // (grouped + 2)
    return [answering * grouped, answering, answering]


def _load_qkv(
    place: Checkpoint, hidden: int, heads: Heads, bias: bool | None, order: Order | None, gated: bool
) -> tuple[Linear, int | None]:
    """The projection, and how many queries a group of its rows has, if they are grouped."""
    one = place / "qkv_proj"
    if order is None or (place.in_gguf and not (one / "weight").exists()):
        apart = (place / "q_proj", place / "k_proj", place / "v_proj")
        rows = (heads.sizes[0] * 2, *heads.sizes[1:]) if gated else heads.sizes
        return Linear.load(apart, hidden, rows, Split("heads", heads.dim), bias), None
    if order == "stacked" or place.in_gguf:
        return Linear.load_stacked(one, hidden, heads.sizes, Split("heads", heads.dim), bias), None
    # Heads that answer are not held twice: what asks them comes with them.
    split = Split("rows", (heads.group + 2) * heads.dim)
    return Linear.load((one,), hidden, (sum(heads.sizes),), split, bias), heads.group


def _share_of(spec: AttentionSpec, heads: Heads, grouped: int | None, place: Checkpoint) -> AttentionSpec:
    """The slopes of this rank's heads."""
    if spec.alibi is None:
        return spec
    split = Split("heads") if grouped is None else Split("rows", grouped)
    part = split.part(heads.queries, place.place, place.path)
    return spec if part is None else replace(spec, alibi=spec.alibi[part.start : part.stop])


def _head_norm(place: Checkpoint, head_dim: int, eps: float | None, offset: float) -> ops.Norm | None:
    if eps is None:
        return None
    weight = (place / "weight").vector(head_dim)
    return ops.Norm(weight + offset if offset else weight, eps)


def alibi_slopes(heads: int, device: torch.device) -> Tensor:
    """A slope for each head, after arXiv 2108.12409: powers of one base, and those between them for heads beyond a
    power of two.
    """
    whole = 1 << (heads.bit_length() - 1)
    base = 2.0 ** (-8.0 / whole)
    slopes = [base ** (1 + index) for index in range(whole)]
    between = 2.0 ** (-4.0 / whole)
    slopes += [between ** (1 + 2 * index) for index in range(heads - whole)]
    return torch.tensor(slopes, dtype=torch.float32, device=device)

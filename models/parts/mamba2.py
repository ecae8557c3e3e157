"""Mamba-2's mixer: heads with a matrix for a state, each of which forgets at a pace that each token sets
(arXiv 2405.21060). Every rank computes all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..contract import Batch, StateLayer, StateTensor, StateView, Weight
from .checkpoint import Checkpoint
from .convolution import ShortConvolution
from .linear import Linear
from .mamba import decay_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2Sizes:
    """`heads` of `head` numbers each share keys and queries of `state` numbers by `groups`. What comes out is gated,
    and normed by groups "after" that, "before" or "never". `shortest` and `longest` bound steps. None in `bias`: if
    the file has one.
    """

    hidden: int
    heads: int
    head: int
    groups: int
    state: int
    taps: int
    bias: bool | None
    conv_bias: bool | None
    eps: float
    out_bias: bool | None = None
    norms: Literal["after", "before", "never"] = "after"
    shortest: float = 0.0
    longest: float | None = None

    @property
    def inner(self) -> int:
        return self.heads * self.head

    @property
    def parts(self) -> tuple[int, int, int, int, int]:
        """Of what goes in: gates, values, keys, queries, steps."""
        shared = self.groups * self.state
        return self.inner, self.inner, shared, shared, self.heads


class Mamba2Mixer(nn.Module):
    """What takes attention's place. `factors` are what projected numbers are multiplied by, each by its own."""

    def __init__(self, place: Checkpoint, sizes: Mamba2Sizes, factors: Tensor | None = None) -> None:
        super().__init__()
        self.sizes, self.factors, self.kernels = sizes, factors, place.place.kernels
        mixed = sum(sizes.parts[1:4])
        self.enter = Linear.load((place / "in_proj",), sizes.hidden, (sum(sizes.parts),), bias=sizes.bias)
        self.conv = ShortConvolution.load(place / "conv1d", mixed, sizes.taps, bias=sizes.conv_bias)
        single = (sizes.heads, 1) if place.in_gguf else (sizes.heads,)
        self.decay = decay_of(place / "A_log", *single).flatten()
        self.through = (place / "D").numbers(*single).flatten()
        self.slowness = (place / "dt_bias").vector(sizes.heads)
        self.norm = None if sizes.norms == "never" else _norm(place / "norm" / "weight", sizes)
        self.leave = Linear.load((place / "out_proj",), sizes.inner, (sizes.hidden,), bias=sizes.out_bias)

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        sizes, parts = self.sizes, self.sizes.parts
        entered = self.enter(x) if self.factors is None else self.enter(x) * self.factors
        gate, mixed, steps = torch.split_with_sizes(entered, [parts[0], sum(parts[1:4]), parts[4]], -1)
        values, keys, queries = torch.split_with_sizes(self.conv(mixed, batch, cache), parts[1:4], -1)
        values = values.reshape(len(x), sizes.heads, sizes.head)
        paces = F.softplus(steps.float() + self.slowness).clamp(sizes.shortest, sizes.longest)[..., None]
        step = ops.Step(
            q=self._of_heads(queries), k=self._of_heads(keys), v=values * paces, decay=paces * self.decay[:, None]
        )
        out = ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels)
        out = out + self.through[:, None] * values
        done: Tensor = self.leave(self._gated(out.flatten(1), gate.float()).to(x.dtype), onto)
        return done

    def _of_heads(self, shared: Tensor) -> Tensor:
        """What groups of heads share, for each: [tokens, heads, state]."""
        groups = shared.reshape(len(shared), self.sizes.groups, 1, self.sizes.state)
        return groups.expand(-1, -1, self.sizes.heads // self.sizes.groups, -1).flatten(1, 2)

    def _gated(self, out: Tensor, gate: Tensor) -> Tensor:
        if self.norm is None:
            return out * F.silu(gate)
        if self.sizes.norms == "before":
            return self._normed(out, self.norm) * F.silu(gate)
        return self._normed(out * F.silu(gate), self.norm)

    def _normed(self, out: Tensor, norm: ops.Norm) -> Tensor:
        """By groups."""
        groups = out.view(len(out), self.sizes.groups, -1)
        return ops.rms_norm(groups, norm).flatten(1)

    def cache_layer(self) -> StateLayer:
        state = StateTensor((self.sizes.heads, self.sizes.head, self.sizes.state))
        return StateLayer({"inputs": self.conv.state(), "state": state})

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.decay, self.through, self.slowness)
        if self.norm is not None:
            yield self.norm.weight


def _norm(place: Checkpoint, sizes: Mamba2Sizes) -> ops.Norm:
    """The weight [groups, numbers], as a GGUF has it."""
    grouped = (sizes.groups, sizes.inner // sizes.groups)
    weight = place.numbers(*grouped) if place.in_gguf else place.vector(sizes.inner).view(grouped)
    return ops.Norm(weight, sizes.eps)

"""Mamba-2's mixer: heads with a matrix for a state, each of which forgets at a pace that each token sets
(arXiv 2405.21060). Every rank computes all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
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
        self.through = (place / "D").numbers(*single).flatten()
        self.pace = ops.Pace(
            (place / "dt_bias").vector(sizes.heads),
            decay_of(place / "A_log", *single).flatten(),
            sizes.shortest,
            sizes.longest,
        )
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
        paces, decays = ops.paces(steps, self.pace, self.kernels)
        step = ops.Step(
            q=queries.view(len(x), sizes.groups, -1),
            k=keys.view(len(x), sizes.groups, -1),
            v=values.view(len(x), sizes.heads, -1),
            decay=decays[..., None],
            taken=paces,
        )
        out = ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels)
        out = ops.leaving(out, gate, ops.Skip(values, self.through), self.norm, self.kernels)
        done: Tensor = self.leave(out, onto)
        return done

    def cache_layer(self) -> StateLayer:
        state = StateTensor((self.sizes.heads, self.sizes.head, self.sizes.state))
        return StateLayer({"inputs": self.conv.state(), "state": state})

    def own_weights(self) -> Iterator[Weight]:
        yield from (part for part in (self.pace.decay, self.through, self.pace.slowness) if part is not None)
        if self.norm is not None:
            yield self.norm.weight


def _norm(place: Checkpoint, sizes: Mamba2Sizes) -> ops.GatedNorm:
    """The weight, of which a GGUF has each group's apart."""
    grouped = (sizes.groups, sizes.inner // sizes.groups)
    weight = place.numbers(*grouped).flatten() if place.in_gguf else place.vector(sizes.inner)
    return ops.GatedNorm(weight, sizes.eps, sizes.groups, gate_first=sizes.norms == "after")

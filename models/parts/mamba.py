"""Mamba's mixer: each channel carries a state from token to token that forgets at a pace which each token sets
(arXiv 2312.00752). Every rank computes all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Batch, Placement, StateLayer, StateTensor, StateView, Weight
from .checkpoint import Checkpoint
from .convolution import ShortConvolution
from .linear import Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaSizes:
    """`step_rank` is the width from which a token's steps are projected. With `mixed_eps`, what steps are made of is
    normed: with weights of the file where it is `weighed`. None in `bias`: if the file has one.
    """

    hidden: int
    inner: int
    state: int
    taps: int
    step_rank: int
    bias: bool | None
    conv_bias: bool
    mixed_eps: float | None = None
    weighed: bool = False


class MambaMixer(nn.Module):
    """What takes attention's place."""

    def __init__(self, place: Checkpoint, sizes: MambaSizes) -> None:
        super().__init__()
        self.sizes, self.kernels = sizes, place.place.kernels
        wide, self.narrow = sizes.inner, [sizes.step_rank, sizes.state, sizes.state]
        self.enter = Linear.load((place / "in_proj",), sizes.hidden, (2 * wide,), bias=sizes.bias)
        self.conv = ShortConvolution.load(place / "conv1d", wide, sizes.taps, bias=sizes.conv_bias)
        self.choose = Linear.load((place / "x_proj",), wide, (sum(self.narrow),))
        self.step = Linear.load((place / "dt_proj",), sizes.step_rank, (wide,), bias=True)
        self.decay = decay_of(place / "A_log", wide, sizes.state)
        self.through = (place / "D").vector(wide)
        self.leave = Linear.load((place / "out_proj",), wide, (sizes.hidden,), bias=sizes.bias)
        self.norms = _norms(place, sizes, self.narrow)

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        mixed, gate = self.enter(x).chunk(2, -1)
        mixed = self.conv(mixed, batch, cache)
        steps, b, c = torch.split_with_sizes(self.choose(mixed.to(x.dtype)), self.narrow, -1)
        if self.norms is not None:
            steps, b, c = (ops.rms_norm(part, norm) for part, norm in zip((steps, b, c), self.norms, strict=True))
        paces, _ = ops.paces(self.step(steps), ops.Pace(), self.kernels)
        b, c, kernels = b.float(), c.float(), self.kernels
        out = ops.selective_scan(
            mixed, paces, self.decay, b, c, name="state", cache=cache, batch=batch, kernels=kernels
        )
        done: Tensor = self.leave(ops.leaving(out, gate, ops.Skip(mixed, self.through), kernels=kernels), onto)
        return done

    def cache_layer(self) -> StateLayer:
        state = StateTensor((self.sizes.inner, self.sizes.state))
        return StateLayer({"inputs": self.conv.state(), "state": state})

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.decay, self.through)
        if self.sizes.weighed and self.norms is not None:
            yield from (norm.weight for norm in self.norms)


def decay_of(place: Checkpoint, *shape: int) -> Tensor:
    """Below 0, fp32; Hugging Face stores the logarithm of its size."""
    stored = place.numbers(*shape)
    return stored if place.in_gguf else -stored.exp()


def _norms(place: Checkpoint, sizes: MambaSizes, narrow: Sequence[int]) -> list[ops.Norm] | None:
    if sizes.mixed_eps is None:
        return None
    names = ("dt_layernorm", "b_layernorm", "c_layernorm")
    weights = (
        (place / name / "weight").vector(size) if sizes.weighed else _ones(size, place.place)
        for name, size in zip(names, narrow, strict=True)
    )
    return [ops.Norm(weight, sizes.mixed_eps) for weight in weights]


def _ones(size: int, place: Placement) -> Tensor:
    return torch.ones(size, device=place.device)

"""A gated delta net: heads with a matrix for a state, which fades, and in which a token's value takes the place of what
its key found there (arXiv 2412.06464). Every rank computes all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Batch, StateLayer, StateTensor, StateView, Weight
from .checkpoint import Checkpoint
from .convolution import ShortConvolution
from .linear import Linear
from .mamba import decay_of

_LEAST: Final = 1e-6  # under the root of a key's length


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaSizes:
    """Heads of `key` numbers for queries and keys, of `value` numbers for values; several of these share a key: they
    lie side by side, or `tiled`, one for each key and then again.
    """

    hidden: int
    key_heads: int
    value_heads: int
    key: int
    value: int
    taps: int
    eps: float
    tiled: bool = False

    @property
    def keys(self) -> int:
        return self.key_heads * self.key

    @property
    def values(self) -> int:
        return self.value_heads * self.value

    @property
    def share(self) -> int:
        """How many heads of values share a key."""
        return self.value_heads // self.key_heads


class Entrance(nn.Module):
    """From hidden states to queries, keys and values side by side, what gates the result, and how much each head of
    values takes in and fades. A file has them stacked, or for each head of keys what belongs to it.
    """

    def __init__(self, place: Checkpoint, sizes: DeltaSizes) -> None:
        super().__init__()
        self.sizes = sizes
        wide, heads = 2 * sizes.keys + sizes.values, sizes.value_heads
        both, rates = place / "in_proj_qkvz", place / "in_proj_ba"
        self.grouped, self.paired = (both / "weight").exists(), (rates / "weight").exists()
        if self.grouped:
            self.enter = Linear.load((both,), sizes.hidden, (wide + sizes.values,))
        else:
            self.enter = Linear.load((place / "in_proj_qkv", place / "in_proj_z"), sizes.hidden, (wide, sizes.values))
        if self.paired:
            self.rates = Linear.load((rates,), sizes.hidden, (2 * heads,))
        else:
            self.rates = Linear.load((place / "in_proj_b", place / "in_proj_a"), sizes.hidden, (heads, heads))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sizes, entered, rates = self.sizes, self.enter(x), self.rates(x).float()
        if self.grouped:
            shared = sizes.share * sizes.value
            parts = entered.view(len(x), sizes.key_heads, -1).split((sizes.key, sizes.key, shared, shared), -1)
            queries, keys, values, gate = (part.flatten(1) for part in parts)
            mixed = torch.cat((queries, keys, values), -1)
        else:
            mixed, gate = entered.split((2 * sizes.keys + sizes.values, sizes.values), -1)
        if self.paired:
            pairs = rates.view(len(x), sizes.key_heads, 2, sizes.share)
            return mixed, gate, pairs[:, :, 0].flatten(1), pairs[:, :, 1].flatten(1)
        taken, fading = rates.chunk(2, -1)
        return mixed, gate, taken, fading


class DeltaNet(nn.Module):
    """What takes attention's place."""

    def __init__(self, place: Checkpoint, sizes: DeltaSizes) -> None:
        super().__init__()
        self.sizes, self.kernels = sizes, place.place.kernels
        self.entrance = Entrance(place, sizes)
        self.conv = ShortConvolution.load(place / "conv1d", 2 * sizes.keys + sizes.values, sizes.taps, bias=False)
        self.pace = ops.Pace(
            (place / "dt_bias").vector(sizes.value_heads), decay_of(place / "A_log", sizes.value_heads)
        )
        weight = (place / "norm" / "weight").vector(sizes.value)
        self.norm = ops.GatedNorm(weight, sizes.eps, sizes.value_heads, gate_first=False)
        lengths = torch.tensor([sizes.key**-0.5, 1.0]).repeat_interleave(sizes.key_heads)
        self.lengths = lengths.to(place.place.device)
        self.leave = Linear.load((place / "out_proj",), sizes.values, (sizes.hidden,))

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        sizes = self.sizes
        mixed, gate, taken, fading = self.entrance(x)
        both, values = self.conv(mixed, batch, cache).split((2 * sizes.keys, sizes.values), -1)
        both = ops.unit(both.view(len(x), -1, sizes.key), self.lengths, _LEAST, self.kernels)
        _, decays = ops.paces(fading, self.pace, self.kernels)
        step = ops.Step(
            q=both[:, : sizes.key_heads],
            k=both[:, sizes.key_heads :],
            v=values.view(len(x), -1, sizes.value),
            decay=decays[..., None],
            taken=taken.sigmoid(),
            replaces=True,
            tiled=sizes.tiled,
        )
        out = ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels)
        done: Tensor = self.leave(ops.leaving(out, gate, norm=self.norm, kernels=self.kernels), onto)
        return done

    def cache_layer(self) -> StateLayer:
        state = StateTensor((self.sizes.value_heads, self.sizes.value, self.sizes.key))
        return StateLayer({"inputs": self.conv.state(), "state": state})

    def own_weights(self) -> Iterator[Weight]:
        yield from (part for part in (self.pace.decay, self.pace.slowness, self.norm.weight) if part is not None)

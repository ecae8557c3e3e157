"""A gated delta net: heads with a matrix for a state, which fades, and in which a token's value takes the place of what
its key found there (arXiv 2412.06464). Every rank computes all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
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
        self.decay = decay_of(place / "A_log", sizes.value_heads)
        self.slowness = (place / "dt_bias").vector(sizes.value_heads)
        self.norm = ops.Norm((place / "norm" / "weight").vector(sizes.value), sizes.eps)
        self.leave = Linear.load((place / "out_proj",), sizes.values, (sizes.hidden,))

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        sizes = self.sizes
        mixed, gate, taken, fading = self.entrance(x)
        queries, keys, values = self.conv(mixed, batch, cache).split((sizes.keys, sizes.keys, sizes.values), -1)
        queries, keys = self._of_values(_unit(queries, sizes)) * sizes.key**-0.5, self._of_values(_unit(keys, sizes))
        decay = (self.decay * F.softplus(fading + self.slowness))[..., None]
        taken = taken.sigmoid()[..., None]
        step = ops.Step(
            q=queries,
            k=keys,
            v=values.reshape(len(x), -1, sizes.value) * taken,
            decay=decay,
            a=-keys,
            b=keys * taken * decay.exp(),
        )
        out = ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels)
        out = ops.rms_norm(out, self.norm)
        done: Tensor = self.leave((out.flatten(1) * F.silu(gate.float())).to(x.dtype), onto)
        return done

    def _of_values(self, heads: Tensor) -> Tensor:
        """For each head of values the one of keys that it shares."""
        share = self.sizes.share
        if self.sizes.tiled:
            return heads.repeat(1, share, 1)
        return heads[:, :, None].expand(-1, -1, share, -1).flatten(1, 2)

    def cache_layer(self) -> StateLayer:
        state = StateTensor((self.sizes.value_heads, self.sizes.value, self.sizes.key))
        return StateLayer({"inputs": self.conv.state(), "state": state})

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.decay, self.slowness, self.norm.weight)


def _unit(flat: Tensor, sizes: DeltaSizes) -> Tensor:
    """Heads of keys, each of length 1."""
    heads = flat.reshape(len(flat), sizes.key_heads, sizes.key)
    return heads * torch.rsqrt(heads.square().sum(-1, keepdim=True) + _LEAST)

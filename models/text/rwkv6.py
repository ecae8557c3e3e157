"""RWKV-6: RWKV whose heads have a matrix for a state, each number of a key fading at a pace that the token sets, as it
sets how much of the one before it goes into everything (arXiv 2404.05892).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import WIDEST, Keys, ModelConfig, divides
from ..contract import Batch, StateTensor, StateView, Weight
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.linear import Linear
from .rwkv import HEAD_EPS, ChannelMix, Rwkv, RwkvConfig, TimeMix, blended, mixing, projection

_WAYS: Final = ("w", "k", "v", "r", "g")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadedConfig(RwkvConfig):
    """Heads of `head` numbers."""

    head: int

    @classmethod
    def _gguf_more(cls, keys: Keys) -> dict[str, Any]:
        return {"head": keys.count("wkv.head_size", most=WIDEST)}

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields, name = super(HeadedConfig, cls)._hf_fields(keys), "head_dim" if keys.has("head_dim") else "head_size"
        head = keys.count(name, 64, most=WIDEST)
        divides(keys, ("hidden_size", fields["wide"]), (name, head))
        return {**fields, "head": head}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rwkv6Config(HeadedConfig):
    @staticmethod
    def _intermediate(hidden: int) -> int:
        return int(hidden * 3.5) // 32 * 32


class LowRank(nn.Module):
    """up(curve(down(x))), plus a bias where there is one."""

    def __init__(self, down: Linear, up: Linear, curve: Any) -> None:
        super().__init__()
        self.down, self.up, self.curve = down, up, curve

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.curve(self.down(x)))
        return out

    @classmethod
    def load(
        cls, down: Checkpoint, up: Checkpoint, hidden: int, curve: Any, bias: Checkpoint | None = None
    ) -> "LowRank":
        """As wide between as the file has it."""
        kernels = down.place.kernels
        shift = None if bias is None else bias.vector(hidden, dtype=down.place.dtype)
        first, second = down.matrix((None, hidden)), up.matrix((hidden, None))
        return cls(Linear([first], [None], None, kernels), Linear([second], [shift], None, kernels), curve)


class HeadsNorm(nn.Module):
    """A layer norm of each head, with a weight and a bias for every number."""

    def __init__(self, place: Checkpoint, wide: int) -> None:
        super().__init__()
        self.weight, self.bias = (place / "weight").vector(wide), (place / "bias").vector(wide)

    def forward(self, heads: Tensor) -> Tensor:
        """Of heads [tokens, heads, numbers]: [tokens, all numbers]."""
        return ops.layer_norm(heads, None, None, HEAD_EPS).flatten(1) * self.weight + self.bias

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.weight, self.bias)


class PacedMix(TimeMix):
    def __init__(self, place: Checkpoint, config: Rwkv6Config) -> None:
        super().__init__()
        self.config, hidden, wide = config, config.hidden, config.wide
        self.kernels = place.place.kernels
        turned = place if place.in_gguf else replace(place, turned=True)
        self.first_share = mixing(place / "time_maa_x", hidden)
        self.shares = _shares(place, hidden)
        self.narrow = _any_width(turned / "time_maa_w1", hidden)
        self.widen = _widening(place / "time_maa_w2", hidden, self.narrow.sizes[0] // len(_WAYS))
        self.pace = mixing(place / "time_decay", wide)
        self.faster = LowRank.load(turned / "time_decay_w1", turned / "time_decay_w2", hidden, torch.tanh)
        self.bonus = (place / "time_faaaa").numbers(wide // config.head, config.head)
        names = ("key", "value", "receptance", "gate")
        self.key, self.value, self.receive, self.gate = (projection(place / name, hidden, wide) for name in names)
        self.norm = HeadsNorm(place / "ln_x", wide)
        self.leave = projection(place / "output", wide, hidden)

    def forward(
        self, x: Tensor, before: Tensor, batch: Batch, cache: StateView, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        narrow = self.narrow(blended(x, before, self.first_share[None])[0]).tanh()
        ways = narrow.view(len(x), len(_WAYS), -1).transpose(0, 1).float() @ self.widen  # [ways, tokens, hidden]
        shares = self.shares[:, None] + ways
        w, k, v, r, g = x + ((before - x) * shares).to(x.dtype)
        decay = -(self.pace + self.faster(w).float()).exp()
        q, key, value = (self._heads(each) for each in (self.receive(r), self.key(k), self.value(v)))
        step = ops.Step(q=q, k=key, v=value, decay=self._heads(decay), reads_before=True)
        out = ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels)
        out = out + (q * self.bonus * key).sum(-1, keepdim=True) * value
        return self.leave((self.norm(out) * F.silu(self.gate(g).float())).to(x.dtype)), values

    def _heads(self, flat: Tensor) -> Tensor:
        return flat.float().view(len(flat), -1, self.config.head)

    def states(self) -> Mapping[str, StateTensor]:
        head = self.config.head
        return {"state": StateTensor((self.config.wide // head, head, head))}

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.first_share, self.shares, self.widen, self.pace, self.bonus)


def _any_width(place: Checkpoint, hidden: int) -> Linear:
    return Linear([place.matrix((None, hidden))], [None], None, place.place.kernels)


def _widening(place: Checkpoint, hidden: int, narrow: int) -> Tensor:
    """[ways, narrow, hidden]"""
    if place.in_gguf:
        return place.numbers(len(_WAYS), hidden, narrow).mT
    return place.numbers(len(_WAYS), narrow, hidden)


def _shares(place: Checkpoint, hidden: int) -> Tensor:
    """Of the token before, for each of the ways; a GGUF may have them in one."""
    fused = place / "time_maa_fused"
    if place.in_gguf and fused.exists():
        return fused.numbers(len(_WAYS), 1, 1, hidden).view(-1, hidden)
    return torch.stack([mixing(place / f"time_maa_{way}", hidden) for way in _WAYS])


_LERPS: Final = {f"attention.time_maa_{way}": f"time_mix_lerp_{way}.weight" for way in (*_WAYS, "x", "fused")}


class Rwkv6(Rwkv):
    Config: ClassVar[type[ModelConfig]] = Rwkv6Config
    gguf_names: ClassVar[Names] = Rwkv.gguf_names.but(
        {"attention.gate": "time_mix_gate"},
        {
            **_LERPS,
            "attention.time_maa_w1": "time_mix_w1.weight",
            "attention.time_maa_w2": "time_mix_w2.weight",
            "attention.time_decay": "time_mix_decay.weight",
            "attention.time_decay_w1": "time_mix_decay_w1.weight",
            "attention.time_decay_w2": "time_mix_decay_w2.weight",
            "attention.time_faaaa": "time_mix_first.weight",
            "feed_forward.time_maa_k": "channel_mix_lerp_k.weight",
            "feed_forward.time_maa_r": "channel_mix_lerp_r.weight",
        },
    )

    @classmethod
    def time(cls, place: Checkpoint, config: Any, layer: int) -> TimeMix:  # noqa: ARG003
        return PacedMix(place, config)

    @classmethod
    def channel(cls, place: Checkpoint, config: Any) -> ChannelMix:
        names = ("time_maa_k", "time_maa_r")
        return ChannelMix(place, config, torch.stack([mixing(place / name, config.hidden) for name in names]))

"""RWKV-7: RWKV-6, but what a key finds in the state is partly forgotten before a value is added, and all blocks take
some of the first one's values (arXiv 2503.14456).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ops
from ..config import Keys, ModelConfig
from ..contract import Batch, StateTensor, StateView, Weight
from ..names import Names
from ..parts.checkpoint import Checkpoint
from .rwkv import ChannelMix, Rwkv, TimeMix, blended, mixing, projection
from .rwkv6 import HeadedConfig, HeadsNorm, LowRank

_WAYS: Final = ("r", "w", "k", "v", "a", "g")
_SLOWEST: Final = -0.6065306597126334  # the logarithm of what is left of a number that fades as fast as it may


@dataclass(frozen=True, slots=True, kw_only=True)
class Rwkv7Config(HeadedConfig):
    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        spelled = Keys(keys.values, spellings={"layer_norm_epsilon": ("norm_eps", "layer_norm_epsilon")})
        return super(Rwkv7Config, cls)._hf_fields(spelled)


class ReplacingMix(TimeMix):
    def __init__(self, place: Checkpoint, config: Rwkv7Config, *, first: bool) -> None:
        super().__init__()
        self.config, hidden, wide = config, config.hidden, config.wide
        self.kernels = place.place.kernels
        self.shares = _shares(place, hidden)
        self.receive, self.key, self.value = (projection(place / f"{name}_proj", hidden, wide) for name in "rkv")
        self.pace = _low_rank(place, "w", hidden, torch.tanh, biased=True)
        self.rate = _low_rank(place, "a", hidden, _plain, biased=True)
        self.gate = _low_rank(place, "g", hidden, torch.sigmoid, biased=False)
        self.mixed = None if first else _low_rank(place, "v", hidden, _plain, biased=True)
        self.direction, self.strength = ((place / name).vector(wide) for name in ("k_k", "k_a"))
        self.bonus = _bonus(place / "r_k", wide, config.head)
        self.norm = HeadsNorm(place / "g_norm", wide)
        self.leave = projection(place / "o_proj", wide, hidden)

    def forward(
        self, x: Tensor, before: Tensor, batch: Batch, cache: StateView, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        r, w, k, v, a, g = blended(x, before, self.shares)
        key, value, rate = self.key(k).float(), self.value(v).float(), self.rate(a).float().sigmoid()
        if self.mixed is not None and values is not None:
            value = value + (values - value) * self.mixed(v).float().sigmoid()
        direction = F.normalize(self._heads(key * self.direction), dim=-1)
        key = self._heads(key * (1 + (rate - 1) * self.strength))
        q, heads = self._heads(self.receive(r).float()), self._heads(value)
        decay = _SLOWEST * self.pace(w).float().sigmoid()
        step = ops.Step(q=q, k=key, v=heads, decay=self._heads(decay), a=-direction, b=direction * self._heads(rate))
        out = self.norm(ops.matrix_scan(step, name="state", cache=cache, batch=batch, kernels=self.kernels))
        out = out + ((q * key * self.bonus).sum(-1, keepdim=True) * heads).flatten(1)
        done: Tensor = self.leave((out * self.gate(g).float()).to(x.dtype))
        return done, value if values is None else values

    def _heads(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), -1, self.config.head)

    def states(self) -> Mapping[str, StateTensor]:
        head = self.config.head
        return {"state": StateTensor((self.config.wide // head, head, head))}

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.shares, self.direction, self.strength, self.bonus)


def _plain(x: Tensor) -> Tensor:
    return x


def _shares(place: Checkpoint, hidden: int) -> Tensor:
    """Of the token before, for each of the ways; a GGUF has them in one."""
    if place.in_gguf:
        return (place / "x_fused").numbers(len(_WAYS), 1, 1, hidden).view(-1, hidden)
    return torch.stack([mixing(place / f"x_{way}", hidden) for way in _WAYS])


def _low_rank(place: Checkpoint, name: str, hidden: int, curve: Any, *, biased: bool) -> LowRank:
    lora = place / f"{name}_lora" / "lora"
    bias = lora / 2 / "bias" if biased else None
    return LowRank.load(lora / 0 / "weight", lora / 2 / "weight", hidden, curve, bias)


def _bonus(place: Checkpoint, wide: int, head: int) -> Tensor:
    shape = (wide,) if place.in_gguf else (wide // head, head)
    return place.numbers(*shape).view(-1, head)


_LOW_RANKS: Final = {
    f"attention.{name}_lora.lora.{stored}": f"time_mix_{name}{number}.weight"
    for name in "wavg"
    for stored, number in (("0.weight", 1), ("2.weight", 2), ("2.bias", 0))
}


# Hugging Face's names begin with `attn` and `ffn`.
_STEMS: Final = {
    "model.pre_ln": "model.layers.0.pre_norm",
    "model.ln_out": "model.norm",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
    **{f"attention.{name}_proj": f"attn.{name}_proj" for name in "rkvo"},
    "attention.g_norm": "attn.g_norm",
    "feed_forward.key": "ffn.key",
    "feed_forward.value": "ffn.value",
}
_TENSORS: Final = {
    **{name: name.replace("attention", "attn") for name in _LOW_RANKS},
    **{f"attention.{name}": f"attn.{name}" for name in ("k_k", "k_a", "r_k", *(f"x_{way}" for way in _WAYS))},
    "feed_forward.x_k": "ffn.x_k",
}


class Rwkv7(Rwkv):
    Config: ClassVar[type[ModelConfig]] = Rwkv7Config
    hf_names: ClassVar[Names] = Names("model.layers", _STEMS, _TENSORS)
    gguf_names: ClassVar[Names] = Rwkv.gguf_names.but(
        {
            "attention.r_proj": "time_mix_receptance",
            "attention.k_proj": "time_mix_key",
            "attention.v_proj": "time_mix_value",
            "attention.o_proj": "time_mix_output",
            "attention.g_norm": "time_mix_ln",
        },
        {
            **_LOW_RANKS,
            "attention.x_fused": "time_mix_lerp_fused.weight",
            **{f"attention.{name}": f"time_mix_{name}.weight" for name in ("k_k", "k_a", "r_k")},
            "feed_forward.x_k": "channel_mix_lerp_k.weight",
        },
    )

    @classmethod
    def last_eps(cls, config: Any, *, in_gguf: bool) -> float:  # noqa: ARG003
        return float(config.eps)

    @classmethod
    def is_spare(cls, name: str) -> bool:
        """The first block has no values to take: some files have something there."""
        return name.startswith(("blk.0.time_mix_v", "model.layers.0.attn.v_lora."))

    @classmethod
    def time(cls, place: Checkpoint, config: Any, layer: int) -> TimeMix:
        return ReplacingMix(place, config, first=layer == 0)

    @classmethod
    def channel(cls, place: Checkpoint, config: Any) -> ChannelMix:
        return ChannelMix(place, config, (place / "x_k").vector(config.hidden)[None], receives=False)

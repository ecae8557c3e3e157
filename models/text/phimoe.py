"""Phi-3.5-MoE: layer norms with biases, LongRoPE, a bias on scores, and two experts a token, the second chosen as if
the first were not there; each one's share is among those that come near it alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor, nn

from ..config import LONGEST, Keys, ModelConfig
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Router
from ..parts.norm import LayerNorm
from ..parts.rope import RopeConfig
from ..parts.scaling import Long
from ..parts.vocabulary import Embedding, Head
from ..rope_keys import rope_from_hf
from .decoder import DecoderConfig, gguf_keys
from .mixture import STRONGEST, Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing

_NOISE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PhiMoEConfig(DecoderConfig):
    """`near` is how far below the best another may score to count, as a share."""

    mixes: ClassVar[bool] = True
    gguf_interleaved: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = 1e-5

    mixture: Mixture
    window_size: int | None
    head_bias: bool | None
    near: float

    def window(self, layer: int) -> int | None:
        return self.window_size

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields, routing = cls._hf_fields(spelled), hf_routing(spelled)
        if routing.choices != 2:
            raise spelled.error("num_experts_per_tok", f"{routing.choices} experts are not chosen two at a time")
        window = spelled.window("sliding_window", absent=None)
        return cls(
            **fields,
            mixture=Mixture(routing=routing, intermediate=fields["intermediate"]),
            window_size=_felt(window, fields["context"]),
            head_bias=spelled.flag("lm_head_bias", False),
            near=2 * spelled.number("router_jitter_noise", _NOISE, low=0.0, high=1.0),
        )

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """How near the second expert must come a file does not say: in all that are published it is the same."""
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        window = spelled.integer("attention.sliding_window", 0, low=0, high=LONGEST)
        return cls(
            **fields,
            mixture=Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled)),
            window_size=_felt(window or None, fields["context"]),
            head_bias=None,
            near=2 * _NOISE,
        )

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        """With the file's own factor of turns, where it has one."""
        rope = rope_from_hf(keys, head_dim)
        section = keys.section("rope_scaling") or keys.section("rope_parameters")
        if section is None or not isinstance(rope.scaling, Long) or not section.has("short_mscale"):
            return rope
        short, long = (section.number(key, low=1e-6, high=STRONGEST) for key in ("short_mscale", "long_mscale"))
        if short != long:
            raise section.error("long_mscale", f"{long:g} is not short_mscale, {short:g}")
        return replace(rope, scaling=replace(rope.scaling, factor=short))


def _felt(window: int | None, context: int) -> int | None:
    """Published files have one that no text outgrows."""
    return None if window is None or window >= context else window


class SparseMixer(Router):
    """After arXiv 2409.12136, without what training adds."""

    near: float = 2 * _NOISE

    def choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        left, chosen, shares = logits, [], []
        for _ in range(2):
            best, index = left.max(-1, keepdim=True)
            far = (best - logits) / logits.abs().clamp(min=best) > self.near
            chosen.append(index)
            shares.append(left.masked_fill(far, float("-inf")).softmax(-1).gather(-1, index))
            left = left.scatter(-1, index, float("-inf"))
        return torch.cat(chosen, -1), torch.cat(shares, -1)


class PhiMoE(Mixing):
    Config: ClassVar[type[ModelConfig]] = PhiMoEConfig
    homes: ClassVar[tuple[str, ...]] = ("block_sparse_moe", "mlp")
    routers: ClassVar[tuple[str, ...]] = ("gate", "router")
    experts: ClassVar[tuple[str, str, str]] = ("w1", "w3", "w2")

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps)

    @classmethod
    def router_of(cls, place: Checkpoint, router: Checkpoint, config: Any, mixture: Mixture) -> Router:  # noqa: ARG003
        mixer = SparseMixer.load(router, mixture.routing, config.hidden)
        mixer.near = config.near
        return mixer

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, bias=config.head_bias)

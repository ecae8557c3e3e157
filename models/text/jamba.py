"""Jamba: Mamba's mixers with norms that have weights, and attention in one layer of several, in which nothing turns;
every other feed-forward layer is experts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import nn

from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS
from ..parts.mamba import MambaMixer, MambaSizes
from .decoder import DecoderConfig, gguf_keys
from .hybrid import Hybrid, gguf_attending, hf_mixer_names
from .mamba import step_rank
from .mixture import Mixing, Mixture, gguf_routing, hf_routing


@dataclass(frozen=True, slots=True, kw_only=True)
class JambaConfig(DecoderConfig):
    """None in `mixture`: the file says of no expert."""

    rotary: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-6

    attending: frozenset[int]
    sizes: MambaSizes
    mixture: Mixture | None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        layers, hidden = fields["layers"], fields["hidden"]
        sizes = MambaSizes(
            hidden=hidden,
            inner=spelled.count("mamba_expand", 2, most=64) * hidden,
            state=spelled.count("mamba_d_state", 16, most=WIDEST),
            taps=spelled.integer("mamba_d_conv", 4, low=2, high=MOST_TAPS),
            step_rank=step_rank(spelled, "mamba_dt_rank", hidden),
            bias=spelled.flag("mamba_proj_bias", False),
            conv_bias=spelled.flag("mamba_conv_bias", True),
            mixed_eps=fields["eps"],
            weighed=True,
        )
        attending = _each(spelled, "attn_layer", layers, (8, 4))
        return cls(**fields, attending=attending, sizes=sizes, mixture=_hf_mixture(spelled, fields))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Which layers are experts, the tensors say."""
        spelled = gguf_keys(keys)
        spelled, attending = gguf_attending(spelled, spelled.count("block_count", most=MOST_LAYERS))
        fields = cls._gguf_fields(spelled)
        sizes = MambaSizes(
            hidden=fields["hidden"],
            inner=spelled.count("ssm.inner_size", most=WIDEST),
            state=spelled.count("ssm.state_size", most=WIDEST),
            taps=spelled.integer("ssm.conv_kernel", low=2, high=MOST_TAPS),
            step_rank=spelled.count("ssm.time_step_rank", most=WIDEST),
            bias=None,
            conv_bias=True,
            mixed_eps=fields["eps"],
            weighed=True,
        )
        mixture = None
        if spelled.integer("expert_count", 0, low=0, high=WIDEST):
            routing = gguf_routing(spelled, normalised=False)
            mixture = Mixture(routing=routing, intermediate=fields["intermediate"])
        return cls(**fields, attending=attending, sizes=sizes, mixture=mixture)


def _each(keys: Keys, name: str, layers: int, absent: tuple[int, int]) -> frozenset[int]:
    """One layer in each `period`, the one at `offset`."""
    period = keys.count(f"{name}_period", absent[0], most=MOST_LAYERS)
    offset = keys.integer(f"{name}_offset", absent[1], low=0, high=period - 1)
    return frozenset(range(offset, layers, period))


def _hf_mixture(keys: Keys, fields: Mapping[str, Any]) -> Mixture | None:
    if keys.integer("num_experts", 16, low=0, high=WIDEST) <= 1:
        return None
    mixed = _each(keys, "expert_layer", fields["layers"], (2, 1))
    return Mixture(
        routing=hf_routing(keys, normalised=False),
        intermediate=fields["intermediate"],
        dense=frozenset(range(fields["layers"])) - mixed,
    )


class Jamba(Mixing, Hybrid):
    Config: ClassVar[type[ModelConfig]] = JambaConfig
    hf_names: ClassVar[Names] = hf_mixer_names("mamba").but(
        {
            "model.norm": "model.final_layernorm",
            "post_attention_layernorm": "pre_ff_layernorm",
            "mlp.gate_proj": "feed_forward.gate_proj",
            "mlp.up_proj": "feed_forward.up_proj",
            "mlp.down_proj": "feed_forward.down_proj",
        }
    )
    homes: ClassVar[tuple[str, ...]] = ("feed_forward",)
    routers: ClassVar[tuple[str, ...]] = ("router",)

    @classmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        return MambaMixer(place, config.sizes)

    @classmethod
    def feed_forward(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:
        if place.in_gguf and not (place / "mlp" / "gate" / "weight").exists():
            config = replace(config, mixture=None)
        return super().feed_forward(place, config, layer)

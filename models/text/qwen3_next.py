"""Qwen3-Next and the text models of Qwen 3.5: gated delta nets, and in one layer of four attention whose result is
gated; norms are stored less 1. Qwen3-Next, and some of 3.5, have experts. GGUF has the heads of 3.5's values tiled.

What guesses further tokens in a file, nothing here needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from torch import nn

from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig, divides
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS
from ..parts.delta import DeltaNet, DeltaSizes
from ..parts.norm import RMSNorm
from .decoder import BESIDE, WITHIN, DecoderConfig, gguf_keys
from .gemma import normed_attention
from .hybrid import Hybrid, hf_attending, hf_mixer_names
from .mamba import MIXER_STEMS, MIXER_TENSORS
from .mixture import Mixture, gguf_expert_width, gguf_routing
from .qwen_moe import Qwen2MoE, hf_mixture

_OFFSET: Final = 1.0
_EVERY: Final = 4
_STEMS: Final = {
    **MIXER_STEMS,
    "mixer.in_proj_qkvz": "ssm_in",
    "mixer.in_proj_ba": "ssm_ba",
    "mixer.in_proj_qkv": "attn_qkv",
    "mixer.in_proj_z": "attn_gate",
    "mixer.in_proj_b": "ssm_beta",
    "mixer.in_proj_a": "ssm_alpha",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen35Config(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    rotary_share: ClassVar[float] = 0.25
    default_head_dim: ClassVar[int | None] = 256
    default_eps: ClassVar[float | None] = 1e-6
    tiled_in_gguf: ClassVar[bool] = True

    attending: frozenset[int]
    sizes: DeltaSizes
    mixture: Mixture | None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        layers = fields["layers"]
        attending = _attending(spelled, "full_attention_interval", layers)
        if spelled.has("layer_types"):
            attending = hf_attending(spelled, layers)
        sizes = DeltaSizes(
            hidden=fields["hidden"],
            key_heads=spelled.count("linear_num_key_heads", 16, most=WIDEST),
            value_heads=spelled.count("linear_num_value_heads", 32, most=WIDEST),
            key=spelled.count("linear_key_head_dim", 128, most=WIDEST),
            value=spelled.count("linear_value_head_dim", 128, most=WIDEST),
            taps=spelled.integer("linear_conv_kernel_dim", 4, low=2, high=MOST_TAPS),
            eps=fields["eps"],
        )
        divides(spelled, ("linear_num_value_heads", sizes.value_heads), ("linear_num_key_heads", sizes.key_heads))
        return cls(**fields, attending=attending, sizes=sizes, mixture=cls._hf_mixture(spelled, layers))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """The inner size is that of all values."""
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        heads, inner = spelled.count("ssm.time_step_rank", most=WIDEST), spelled.count("ssm.inner_size", most=WIDEST)
        divides(spelled, ("ssm.inner_size", inner), ("ssm.time_step_rank", heads))
        sizes = DeltaSizes(
            hidden=fields["hidden"],
            key_heads=spelled.count("ssm.group_count", most=heads),
            value_heads=heads,
            key=spelled.count("ssm.state_size", most=WIDEST),
            value=inner // heads,
            taps=spelled.integer("ssm.conv_kernel", low=2, high=MOST_TAPS),
            eps=fields["eps"],
            tiled=cls.tiled_in_gguf,
        )
        divides(spelled, ("ssm.time_step_rank", heads), ("ssm.group_count", sizes.key_heads))
        attending = _gguf_attending(spelled, fields["layers"])
        return cls(**fields, attending=attending, sizes=sizes, mixture=cls._gguf_mixture(spelled))

    @classmethod
    def _hf_mixture(cls, keys: Keys, layers: int) -> Mixture | None:  # noqa: ARG003
        return None

    @classmethod
    def _gguf_mixture(cls, keys: Keys) -> Mixture | None:  # noqa: ARG003
        return None


def _attending(keys: Keys, name: str, layers: int) -> frozenset[int]:
    every = keys.count(name, _EVERY, most=MOST_LAYERS)
    return frozenset(range(every - 1, layers, every))


def _gguf_attending(keys: Keys, layers: int) -> frozenset[int]:
    """By a list of those that carry, or by how many come before one that attends."""
    carrying = keys.values.get(f"{keys.prefix}attention.recurrent_layers")
    if not isinstance(carrying, list):
        return _attending(keys, "full_attention_interval", layers)
    return frozenset(layer for layer in range(layers) if layer < len(carrying) and not carrying[layer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen35MoEConfig(Qwen35Config):
    mixes: ClassVar[bool] = True

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        """Of dense layers, of which there may be none."""
        return keys.count("intermediate_size", keys.count("moe_intermediate_size", 512, most=WIDEST), most=WIDEST)

    @classmethod
    def _hf_mixture(cls, keys: Keys, layers: int) -> Mixture | None:
        shared = keys.count("shared_expert_intermediate_size", 512, most=WIDEST)
        return hf_mixture(keys, layers, shared, normalised=True)

    @classmethod
    def _gguf_mixture(cls, keys: Keys) -> Mixture | None:
        width = gguf_expert_width(keys)
        shared = keys.count("expert_shared_feed_forward_length", width, most=WIDEST)
        return Mixture(routing=gguf_routing(keys), intermediate=width, shared=shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3NextConfig(Qwen35MoEConfig):
    tiled_in_gguf: ClassVar[bool] = False


class Qwen35MoE(Hybrid, Qwen2MoE):
    Config: ClassVar[type[ModelConfig]] = Qwen35MoEConfig
    within: ClassVar[tuple[tuple[str, str], ...]] = WITHIN
    beside: ClassVar[tuple[str, ...]] = ("mtp.", *BESIDE)
    hf_names: ClassVar[Names] = hf_mixer_names("linear_attn", _STEMS)
    gguf_names: ClassVar[Names] = gguf_name.but(
        {**_STEMS, "post_attention_layernorm": "post_attention_norm"}, MIXER_TENSORS
    )

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return RMSNorm.load(place, config.hidden, config.eps, _OFFSET)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        return normed_attention(place, config, cls.spec(config, layer), gated=True)

    @classmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        return DeltaNet(place, config.sizes)


class Qwen3Next(Qwen35MoE):
    Config: ClassVar[type[ModelConfig]] = Qwen3NextConfig


class Qwen35(Qwen35MoE):
    """Without experts."""

    Config: ClassVar[type[ModelConfig]] = Qwen35Config

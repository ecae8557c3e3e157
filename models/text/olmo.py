"""OLMo, OLMo 2 and OLMo 3.

The first is Llama with norms that have no weights, and may clip what it projects. The second norms what a branch adds
instead of what it reads, and all of a layer's queries, or keys, together. The third is that with windows in three of
four layers.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import LONGEST, Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads, Norms
from ..parts.block import Block
from ..parts.checkpoint import Checkpoint
from ..parts.norm import LayerNorm, WholeNorm
from ..parts.rope import RopeConfig
from ..parts.scaling import Unscaled
from ..rope_keys import ropes_from_hf
from .decoder import LARGEST, AnyBlock, Decoder, DecoderConfig, WindowedConfig, layer_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class OlmoConfig(DecoderConfig):
    """`clip` bounds queries, keys and values."""

    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"

    clip: float | None

    @classmethod
    def _hf_eps(cls, keys: Keys) -> float:  # noqa: ARG003
        """No file says it."""
        return 1e-5

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(OlmoConfig, cls)._hf_fields(keys)
        return {**fields, "clip": _clip(keys, "clip_qkv")}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(OlmoConfig, cls)._gguf_fields(keys)
        return {**fields, "clip": _clip(keys, "attention.clamp_kqv")}


def _clip(keys: Keys, key: str) -> float | None:
    return keys.number(key, 0.0, low=0.0, high=LARGEST) or None


class Olmo(Decoder):
    Config: ClassVar[type[ModelConfig]] = OlmoConfig

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:  # noqa: ARG003
        return LayerNorm(None, None, config.eps)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, clip=config.clip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Olmo2Config(WindowedConfig):
    """OLMo 3's too: GGUF calls both `olmo2`. Layers with a window turn as trained, however the others are stretched."""

    gguf_interleaved: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = 1e-5

    @property
    def local_rope(self) -> RopeConfig | None:
        return None if self.rope is None else RopeConfig(self.rope.theta, self.rope.dim, Unscaled())

    def turn(self, layer: int) -> RopeConfig | None:
        return self.rope if self.windows[layer] is None else self.local_rope

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Olmo2Config, cls)._hf_fields(keys)
        return {**fields, "windows": (None,) * fields["layers"]}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Olmo2Config, cls)._gguf_fields(keys)
        window = keys.integer("attention.sliding_window", 0, low=0, high=LONGEST) or None
        return {**fields, "windows": tuple(None if i % 4 == 3 else window for i in range(fields["layers"]))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Olmo3Config(Olmo2Config):
    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Olmo3Config, cls)._hf_fields(keys)
        window = keys.window("sliding_window", absent=4096)
        return {**fields, "windows": layer_windows(keys, fields["layers"], window, lambda layer: layer % 4 == 3)}

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        whole, _ = ropes_from_hf(keys, head_dim, full=500_000.0, sliding=500_000.0)
        return whole


class Olmo2(Decoder):
    Config: ClassVar[type[ModelConfig]] = Olmo2Config
    gguf_names: ClassVar[Names] = gguf_name.but(
        {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return Block(
            None,
            cls.attention(place / "self_attn", config, layer),
            None,
            cls.feed_forward(place, config, layer),
            after_attention=cls.norm_of(place / "post_attention_layernorm", config),
            after_mlp=cls.norm_of(place / "post_feedforward_layernorm", config),
        )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec, heads = config.attention_bias, cls.spec(config, layer), config.heads
        norms = whole_norms(place, heads, config.eps)
        return Attention.load(place, config.hidden, heads, spec, qkv_bias=bias, out_bias=bias, norms=norms)


class Olmo3(Olmo2):
    Config: ClassVar[type[ModelConfig]] = Olmo3Config


def whole_norms(place: Checkpoint, heads: Heads, eps: float) -> Norms:
    """Norms over all of a layer's queries, and over all of its keys."""
    wide, narrow, _ = heads.sizes
    return (
        WholeNorm.load(place / "q_norm", wide, heads.dim, eps),
        WholeNorm.load(place / "k_norm", narrow, heads.dim, eps),
    )

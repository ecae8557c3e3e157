"""Gemma 1 and CodeGemma, Gemma 2, and the text models of Gemma 3.

Norms are stored less 1, embeddings are multiplied by the root of their width, gates bend by GELU. Gemma 2 norms what a
branch adds too, bounds scores, and lets every second layer see a window; Gemma 3 norms queries and keys instead of
bounding, and its windowed layers, five of six, turn at a pace of their own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import nn

from ..config import LONGEST, Keys, ModelConfig
from ..contract import AttentionSpec, Placement
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.block import Block
from ..parts.checkpoint import Checkpoint
from ..parts.norm import RMSNorm
from ..parts.rope import RopeConfig
from ..parts.scaling import Unscaled
from ..parts.vocabulary import Embedding, Head
from ..rope_keys import SLOWEST, ropes_from_hf
from .decoder import BESIDE, LARGEST, WITHIN, AnyBlock, Decoder, DecoderConfig, WindowedConfig, layer_windows

_TANH: Final = "gelu_pytorch_tanh"
_OFFSET: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmaConfig(DecoderConfig):
    """Files of the first release say `gelu` and mean its approximation."""

    gguf_interleaved: ClassVar[bool] = False
    default_head_dim: ClassVar[int | None] = 256
    default_tied: ClassVar[bool | None] = True
    default_eps: ClassVar[float | None] = 1e-6
    activations: ClassVar[dict[str, str]] = {"gelu": _TANH, _TANH: _TANH}
    default_activation: ClassVar[str] = _TANH
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {"hidden_act": ("hidden_activation", "hidden_act")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemma2Config(WindowedConfig, GemmaConfig):
    """`attention_scale` and the softcaps are Gemma 2's; a GGUF has no key for the first, it follows from sizes."""

    every: ClassVar[int] = 2
    softcaps: ClassVar[tuple[float | None, float | None]] = (50.0, 30.0)
    default_window: ClassVar[int] = 4096
    largest: ClassVar[int] = 46  # layers of the one size whose scale is not a head's width

    attention_scale: float
    attention_softcap: float | None
    logit_softcap: float | None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Gemma2Config, cls)._hf_fields(keys)
        every = keys.count("sliding_window_pattern", cls.every, most=LONGEST)
        window = keys.window("sliding_window", absent=cls.default_window)
        return {
            **fields,
            "windows": layer_windows(keys, fields["layers"], window, lambda layer: (layer + 1) % every == 0),
            "attention_scale": keys.number("query_pre_attn_scalar", 256, low=1e-3, high=LARGEST) ** -0.5,
            "attention_softcap": _softcap(keys, "attn_logit_softcapping", cls.softcaps[0]),
            "logit_softcap": _softcap(keys, "final_logit_softcapping", cls.softcaps[1]),
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Gemma2Config, cls)._gguf_fields(keys)
        window = keys.integer("attention.sliding_window", cls.default_window, low=0, high=LONGEST) or None
        heads, layers = fields["heads"], fields["layers"]
        wide = fields["hidden"] / heads.queries if layers == cls.largest else heads.dim
        return {
            **fields,
            "windows": tuple(None if (layer + 1) % cls.every == 0 else window for layer in range(layers)),
            "attention_scale": wide**-0.5,
            "attention_softcap": _softcap(keys, "attn_logit_softcapping", cls.softcaps[0]),
            "logit_softcap": _softcap(keys, "final_logit_softcapping", cls.softcaps[1]),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemma3Config(Gemma2Config):
    every: ClassVar[int] = 6
    softcaps: ClassVar[tuple[float | None, float | None]] = (None, None)
    largest: ClassVar[int] = 62

    local_rope: RopeConfig

    def turn(self, layer: int) -> RopeConfig | None:
        return self.rope if self.windows[layer] is None else self.local_rope

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Gemma3Config, cls)._hf_fields(keys)
        whole, local = ropes_from_hf(keys, fields["heads"].dim, full=1_000_000.0, sliding=10_000.0)
        return {**fields, "rope": whole, "local_rope": local}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Gemma3Config, cls)._gguf_fields(keys)
        base = keys.number("rope.freq_base_swa", 10_000.0, low=1.01, high=SLOWEST)
        return {**fields, "local_rope": RopeConfig(base, fields["heads"].dim, Unscaled())}


def _softcap(keys: Keys, key: str, absent: float | None) -> float | None:
    """Null says none, as does leaving it out where the family has none."""
    if keys.prefix + key in keys.values and not keys.has(key):
        return None
    return absent if not keys.has(key) else keys.number(key, low=1e-3, high=LARGEST)


class Gemma(Decoder):
    Config: ClassVar[type[ModelConfig]] = GemmaConfig

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:
        return _rounded(config.hidden**0.5, place)

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return RMSNorm.load(place, config.hidden, config.eps, _OFFSET)


def _rounded(number: float, place: Placement) -> float:
    """As the type of activations holds it: these models were trained with that."""
    return float(torch.tensor(number, dtype=place.dtype))


class Gemma2(Gemma):
    Config: ClassVar[type[ModelConfig]] = Gemma2Config
    gguf_names: ClassVar[Names] = gguf_name.but(
        {
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        }
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return Block(
            cls.norm_of(place / "input_layernorm", config),
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "pre_feedforward_layernorm", config),
            cls.feed_forward(place, config, layer),
            after_attention=cls.norm_of(place / "post_attention_layernorm", config),
            after_mlp=cls.norm_of(place / "post_feedforward_layernorm", config),
        )

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return AttentionSpec(config.attention_scale, config.window(layer), config.attention_softcap)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, softcap=config.logit_softcap)


class Gemma3(Gemma2):
    Config: ClassVar[type[ModelConfig]] = Gemma3Config
    within: ClassVar[tuple[tuple[str, str], ...]] = WITHIN
    beside: ClassVar[tuple[str, ...]] = BESIDE

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        return normed_attention(place, config, cls.spec(config, layer))


def normed_attention(place: Checkpoint, config: Any, spec: AttentionSpec, *, gated: bool = False) -> Attention:
    """Heads of queries and keys have norms, stored less 1."""
    return Attention.load(
        place,
        config.hidden,
        config.heads,
        spec,
        qkv_bias=config.attention_bias,
        out_bias=config.attention_bias,
        norm_eps=config.eps,
        norm_offset=_OFFSET,
        gated=gated,
    )

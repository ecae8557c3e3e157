"""InternLM 1, which is Llama with biases in its attention, InternLM 2, which stores queries with the key and value that
they ask, and InternLM 3, whose outputs have biases of their own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import ModelConfig
from ..names import Names
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from .decoder import Decoder, DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class InternLMConfig(DecoderConfig):
    default_bias: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-6
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {"attention_bias": ("bias",), "mlp_bias": ("no bias",)}

    @classmethod
    def _hf_fields(cls, keys: Any) -> dict[str, Any]:
        return {**super(InternLMConfig, cls)._hf_fields(keys), "mlp_bias": False}


class InternLM(Decoder):
    Config: ClassVar[type[ModelConfig]] = InternLMConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class InternLM2Config(DecoderConfig):
    default_tied: ClassVar[bool | None] = None
    default_eps: ClassVar[float | None] = 1e-5
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {"attention_bias": ("bias",)}


class InternLM2(Decoder):
    Config: ClassVar[type[ModelConfig]] = InternLM2Config
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            "model.embed_tokens": "model.tok_embeddings",
            "lm_head": "output",
            "input_layernorm": "attention_norm",
            "self_attn.qkv_proj": "attention.wqkv",
            "self_attn.o_proj": "attention.wo",
            "post_attention_layernorm": "ffn_norm",
            "mlp.gate_proj": "feed_forward.w1",
            "mlp.up_proj": "feed_forward.w3",
            "mlp.down_proj": "feed_forward.w2",
        },
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, order="grouped")


@dataclass(frozen=True, slots=True, kw_only=True)
class InternLM3Config(DecoderConfig):
    default_eps: ClassVar[float | None] = 1e-5
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "attention_bias": ("qkv_bias", "attention_bias"),
        "mlp_bias": ("bias", "mlp_bias"),
    }


class InternLM3(Decoder):
    Config: ClassVar[type[ModelConfig]] = InternLM3Config

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec, bias = cls.spec(config, layer), config.attention_bias
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=config.mlp_bias)

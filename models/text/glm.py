"""GLM-4, GLM-4-0414 and GLM-Z1, and ChatGLM 2 and 3 with the first files of GLM-4: of each head one half turns, in
neighbouring pairs; gate and up are one matrix. GLM-4-0414 norms what a branch adds too.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import WIDEST, Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads, Order
from ..parts.block import Block
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import GatedMLP
from ..parts.rope import RopeConfig
from ..parts.scaling import Unscaled
from .decoder import LARGEST, AnyBlock, Decoder, DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GlmConfig(DecoderConfig):
    interleaved: ClassVar[bool] = True
    rotary_share: ClassVar[float] = 0.5
    default_head_dim: ClassVar[int | None] = 128
    default_bias: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1.5625e-7


class Glm(Decoder):
    Config: ClassVar[type[ModelConfig]] = GlmConfig

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        order: Order | None = "stacked" if place.in_gguf else None
        spec, bias = cls.spec(config, layer), config.attention_bias
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, order=order)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedMLP.load(place, config.hidden, config.intermediate, stacked=True)


class Glm4(Glm):
    gguf_names: ClassVar[Names] = gguf_name.but(
        {"post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"}
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return Block(
            cls.norm_of(place / "input_layernorm", config),
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "post_attention_layernorm", config),
            cls.feed_forward(place, config, layer),
            after_attention=cls.norm_of(place / "post_self_attn_layernorm", config),
            after_mlp=cls.norm_of(place / "post_mlp_layernorm", config),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatGLMConfig(GlmConfig):
    """Its files say that the head is tied, and hold one that is not."""

    default_eps: ClassVar[float | None] = 1e-5
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "num_hidden_layers": ("num_layers", "num_hidden_layers"),
        "vocab_size": ("padded_vocab_size",),
        "intermediate_size": ("ffn_hidden_size",),
        "head_dim": ("kv_channels",),
        "max_position_embeddings": ("seq_length",),
        "rms_norm_eps": ("layernorm_epsilon",),
        "attention_bias": ("add_qkv_bias",),
    }

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        heads = super(ChatGLMConfig, cls)._hf_heads(keys, hidden)
        if not keys.flag("multi_query_attention", False):
            return heads
        return Heads(heads.queries, keys.count("multi_query_group_num", most=heads.queries), heads.dim)

    @classmethod
    def _hf_tied(cls, keys: Keys) -> bool | None:  # noqa: ARG003
        return False

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        ratio = keys.number("rope_ratio", 1.0, low=1e-6, high=LARGEST)
        return RopeConfig(10_000.0 * ratio, head_dim // 4 * 2, Unscaled(), interleaved=True)

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        for key, published in (
            ("rmsnorm", True),
            ("post_layer_norm", True),
            ("apply_residual_connection_post_layernorm", False),
            ("add_bias_linear", False),
        ):
            if keys.flag(key, published) is not published:
                raise keys.error(key, "no published model of this kind has another value")
        keys.count("intermediate_size", most=WIDEST)
        return super(ChatGLMConfig, cls)._hf_fields(keys)


class ChatGLM(Glm):
    Config: ClassVar[type[ModelConfig]] = ChatGLMConfig
    ignored: ClassVar[tuple[str, ...]] = ("inv_freq",)
    hf_names: ClassVar[Names] = Names(
        "transformer.encoder.layers",
        {
            "model.embed_tokens": "transformer.embedding.word_embeddings",
            "model.norm": "transformer.encoder.final_layernorm",
            "lm_head": "transformer.output_layer",
            "self_attn.qkv_proj": "self_attention.query_key_value",
            "self_attn.o_proj": "self_attention.dense",
            "mlp.gate_up_proj": "mlp.dense_h_to_4h",
            "mlp.down_proj": "mlp.dense_4h_to_h",
        },
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec, bias = cls.spec(config, layer), config.attention_bias
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, order="stacked")

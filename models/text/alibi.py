"""BLOOM and MPT: no positions but slopes, which lower the scores of what is far away; MPT has no biases."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..config import WIDEST, Keys, ModelConfig
from ..contract import AttentionSpec
from ..names import Names, gguf_name
from ..parts.attention import Attention, alibi_slopes
from ..parts.checkpoint import Checkpoint
from ..parts.norm import LayerNorm
from ..parts.vocabulary import Embedding, Entrance
from .decoder import LARGEST, attention_spec
from .gpt import GPT, SPELLINGS, GPTConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BloomConfig(GPTConfig):
    default_activation: ClassVar[str] = "gelu_new"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SPELLINGS,
        "hidden_size": ("hidden_size", "n_embed"),
        "max_position_embeddings": ("seq_length",),
    }

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        return 4 * keys.count("hidden_size", most=WIDEST)

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        if keys.flag("apply_residual_connection_post_layernorm", False):
            raise keys.error("apply_residual_connection_post_layernorm", "no published model of this kind has it")
        return super(BloomConfig, cls)._hf_fields(keys)


class Bloom(GPT):
    """Embeddings are normed; a head's query, key and value are stored together."""

    Config: ClassVar[type[ModelConfig]] = BloomConfig
    hf_names: ClassVar[Names] = Names(
        "transformer.h",
        {
            "model.embed_tokens": "transformer.word_embeddings",
            "model.embed_norm": "transformer.word_embeddings_layernorm",
            "model.norm": "transformer.ln_f",
            "self_attn.qkv_proj": "self_attention.query_key_value",
            "self_attn.o_proj": "self_attention.dense",
            "mlp.up_proj": "mlp.dense_h_to_4h",
            "mlp.down_proj": "mlp.dense_4h_to_h",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but({"model.embed_norm": "token_embd_norm"})

    @classmethod
    def entrance_of(cls, trunk: Checkpoint, config: Any) -> Entrance:
        embed = Embedding.load(trunk / "embed_tokens", config.vocabulary, config.hidden)
        return Entrance(embed, norm=LayerNorm.load(trunk / "embed_norm", config.hidden, config.eps))

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = replace(attention_spec(config, layer), alibi=alibi_slopes(config.heads.queries, place.place.device))
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=True, out_bias=True, order="grouped")


@dataclass(frozen=True, slots=True, kw_only=True)
class MptConfig(GPTConfig):
    """`steepest` is the exponent of the last head's slope; `scale` multiplies scores, None: as others have it."""

    default_bias: ClassVar[bool] = False
    default_activation: ClassVar[str] = "gelu"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SPELLINGS,
        "hidden_size": ("d_model",),
        "num_hidden_layers": ("n_layers",),
        "num_attention_heads": ("n_heads",),
        "max_position_embeddings": ("max_seq_len",),
    }

    steepest: float
    clip: float | None
    scale: float | None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(MptConfig, cls)._hf_fields(keys)
        inner = keys.section("attn_config") or Keys({}, "attn_config.")
        for key, published in (("alibi", True), ("qk_ln", False), ("prefix_lm", False)):
            if inner.flag(key, published) is not published:
                raise inner.error(key, "models of this kind with another value cannot be computed")
        return {
            **fields,
            "intermediate": keys.count("expansion_ratio", 4, most=64) * fields["hidden"],
            "steepest": inner.number("alibi_bias_max", 8.0, low=1e-3, high=LARGEST),
            "clip": inner.number("clip_qkv", 0.0, low=0.0, high=LARGEST) or None,
            "scale": inner.number("softmax_scale", 0.0, low=0.0, high=LARGEST) or None,
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(MptConfig, cls)._gguf_fields(keys)
        return {
            **fields,
            "steepest": keys.number("attention.max_alibi_bias", 8.0, low=1e-3, high=LARGEST),
            "clip": keys.number("attention.clamp_kqv", 0.0, low=0.0, high=LARGEST) or None,
            "scale": None,
        }


class Mpt(GPT):
    Config: ClassVar[type[ModelConfig]] = MptConfig
    norm_bias: ClassVar[bool | None] = False
    hf_names: ClassVar[Names] = Names(
        "transformer.blocks",
        {
            "model.embed_tokens": "transformer.wte",
            "model.norm": "transformer.norm_f",
            "input_layernorm": "norm_1",
            "self_attn.qkv_proj": "attn.Wqkv",
            "self_attn.o_proj": "attn.out_proj",
            "post_attention_layernorm": "norm_2",
            "mlp.up_proj": "ffn.up_proj",
            "mlp.down_proj": "ffn.down_proj",
        },
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:  # noqa: ARG003
        slopes = alibi_slopes(config.heads.queries, place.place.device) ** (config.steepest / 8)
        spec = AttentionSpec(config.scale or config.heads.dim**-0.5, alibi=slopes)
        return Attention.load(place, config.hidden, config.heads, spec, order="stacked", clip=config.clip)

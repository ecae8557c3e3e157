"""GPT-NeoX and Pythia: attention and feed-forward side by side on a norm each; a head's query, key and value are
stored together, and a quarter of each turns. Phi 1, 1.5 and 2: the same with one norm, and a head with a bias.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads, Order
from ..parts.checkpoint import Checkpoint
from ..parts.vocabulary import Embedding, Head
from .decoder import AnyBlock, heads_from_hf
from .gpt import GPT, GPTConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTNeoXConfig(GPTConfig):
    """`parallel`: attention and feed-forward read the same states."""

    rotary: ClassVar[bool] = True
    rotary_share: ClassVar[float] = 0.25
    default_tied: ClassVar[bool | None] = False
    default_activation: ClassVar[str] = "gelu"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("layer_norm_eps",),
        "rope_theta": ("rotary_emb_base", "rope_theta"),
        "partial_rotary_factor": ("rotary_pct", "partial_rotary_factor"),
    }

    parallel: bool

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GPTNeoXConfig, cls)._hf_fields(keys)
        return {**fields, "parallel": keys.flag("use_parallel_residual", True)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GPTNeoXConfig, cls)._gguf_fields(keys)
        return {**fields, "parallel": keys.flag("use_parallel_residual", True)}


class GPTNeoX(GPT):
    Config: ClassVar[type[ModelConfig]] = GPTNeoXConfig
    prefix: ClassVar[str] = "gpt_neox."
    hf_names: ClassVar[Names] = Names(
        "gpt_neox.layers",
        {
            "model.embed_tokens": "gpt_neox.embed_in",
            "model.norm": "gpt_neox.final_layer_norm",
            "lm_head": "embed_out",
            "self_attn.qkv_proj": "attention.query_key_value",
            "self_attn.o_proj": "attention.dense",
            "mlp.up_proj": "mlp.dense_h_to_4h",
            "mlp.down_proj": "mlp.dense_4h_to_h",
        },
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        if not config.parallel:
            return super().block(place, config, layer)
        return cls.side_by_side(place, config, layer, cls.norm_of(place / "post_attention_layernorm", config))

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, order="grouped")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhiConfig(GPTConfig):
    rotary: ClassVar[bool] = True
    rotary_share: ClassVar[float] = 0.5
    default_tied: ClassVar[bool | None] = False
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {"rms_norm_eps": ("layer_norm_eps",)}

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        return heads_from_hf(keys, hidden, None)

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        if keys.flag("qk_layernorm", False):
            raise keys.error("qk_layernorm", "norms of queries and keys are in no published model of this kind")
        return super(PhiConfig, cls)._hf_fields(keys)


class Phi(GPT):
    Config: ClassVar[type[ModelConfig]] = PhiConfig
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            "model.norm": "model.final_layernorm",
            "self_attn.o_proj": "self_attn.dense",
            "mlp.up_proj": "mlp.fc1",
            "mlp.down_proj": "mlp.fc2",
        },
    )
    prefix: ClassVar[str] = "model."
    gguf_names: ClassVar[Names] = gguf_name

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return cls.side_by_side(place, config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec, stacked = cls.spec(config, layer), place.in_gguf
        order: Order | None = "stacked" if stacked else None
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=True, out_bias=True, order=order)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, bias=True)

"""Falcon: 7B with one head of keys, 40B and 180B with groups of them and two norms, and the first, serial, with slopes.

Falcon 3 is Llama, Falcon Mamba is Mamba.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..config import WIDEST, Keys, ModelConfig, divides
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads, Order, alibi_slopes
from ..parts.block import ParallelBlock
from ..parts.checkpoint import Checkpoint
from .decoder import AnyBlock
from .gpt import GPT, GPTConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FalconConfig(GPTConfig):
    """`norms` stand before attention and feed-forward side by side: 1 for both or 2; 0: they are not side by side.

    `grouped`: queries are stored with the key and value that they ask. `sloped`: instead of turning.
    """

    rotary: ClassVar[bool] = True
    default_activation: ClassVar[str] = "gelu"
    default_bias: ClassVar[bool] = False
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "num_hidden_layers": ("num_hidden_layers", "n_layer"),
        "num_attention_heads": ("num_attention_heads", "n_head"),
        "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
        "intermediate_size": ("ffn_hidden_size",),
        "hidden_act": ("activation",),
        "attention_bias": ("bias",),
        "mlp_bias": ("bias",),
        "rms_norm_eps": ("layer_norm_epsilon",),
    }

    norms: int
    grouped: bool
    sloped: bool

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        """Only the new architecture says how many heads answer; of others it is one, or each."""
        queries = keys.count("num_attention_heads", most=WIDEST)
        divides(keys, ("hidden_size", hidden), ("num_attention_heads", queries))
        answering = 1 if keys.flag("multi_query", True) else queries
        if keys.flag("new_decoder_architecture", False):
            answering = keys.count("num_key_value_heads", queries, most=WIDEST)
            divides(keys, ("num_attention_heads", queries), ("num_key_value_heads", answering))
        return Heads(queries, answering, hidden // queries)

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields, new = super(FalconConfig, cls)._hf_fields(keys), keys.flag("new_decoder_architecture", False)
        sloped = keys.flag("alibi", False)
        side_by_side = new or keys.flag("parallel_attn", True)
        return {
            **fields,
            "rope": None if sloped else fields["rope"],
            "norms": keys.integer("num_ln_in_parallel_attn", 2 if new else 1, high=2) if side_by_side else 0,
            "grouped": new or not keys.flag("multi_query", True),
            "sloped": sloped,
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        """Whether there is a second norm, the file's tensors say."""
        return {**super(FalconConfig, cls)._gguf_fields(keys), "norms": 1, "grouped": False, "sloped": False}


class Falcon(GPT):
    Config: ClassVar[type[ModelConfig]] = FalconConfig
    hf_names: ClassVar[Names] = Names(
        "transformer.h",
        {
            "model.embed_tokens": "transformer.word_embeddings",
            "model.norm": "transformer.ln_f",
            "self_attn.qkv_proj": "self_attention.query_key_value",
            "self_attn.o_proj": "self_attention.dense",
            "mlp.up_proj": "mlp.dense_h_to_4h",
            "mlp.down_proj": "mlp.dense_4h_to_h",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but({"ln_attn": "attn_norm_2", "ln_mlp": "attn_norm"})

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        if config.norms == 0:
            return super().block(place, config, layer)
        two = (place / "ln_attn" / "weight").exists() if place.in_gguf else config.norms == 2
        return ParallelBlock(
            cls.norm_of(place / ("ln_attn" if two else "input_layernorm"), config),
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "ln_mlp", config) if two else None,
            cls.feed_forward(place, config, layer),
        )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        if config.sloped:
            spec = replace(spec, alibi=alibi_slopes(config.heads.queries, place.place.device) * spec.scale)
        order: Order = "grouped" if config.grouped else "stacked"
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, order=order)

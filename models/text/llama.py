"""Llama 1 to 3.2, and all that is built alike: TinyLlama, CodeLlama, Yi, SmolLM2.

Pre-norm blocks of grouped-query attention with rotary positions and a gated feed-forward layer. Cousins import this
file and state their difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from .. import ops
from ..config import LONGEST, MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, divides, refuse_quantized
from ..contract import AttentionSpec, Batch, CacheSpec, Model, PagedView, Placement, WeightLoader
from ..names import gguf_name
from ..parts.attention import Attention, Heads
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import GatedMLP
from ..parts.norm import RMSNorm
from ..parts.rope import Rope, RopeConfig
from ..parts.vocabulary import Embedding, Head
from ..rope_keys import rope_from_gguf, rope_from_hf


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """None in `tied` and the biases: a GGUF does not say, whatever tensors it has count."""

    gguf_interleaved: ClassVar[bool] = True
    default_head_dim: ClassVar[int | None] = None

    hidden: int
    intermediate: int
    layers: int
    heads: Heads
    eps: float
    rope: RopeConfig
    tied: bool | None
    attention_bias: bool | None
    mlp_bias: bool | None

    def window(self, layer: int) -> int | None:
        """How many tokens the attention of `layer` sees; None: all."""
        return None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._hf_fields(Keys(keys)))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._gguf_fields(gguf_keys(keys)))

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        refuse_quantized(keys)
        keys.word("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")
        hidden = keys.count("hidden_size", most=WIDEST)
        heads = _hf_heads(keys, hidden, cls.default_head_dim)
        return {
            "context": keys.count("max_position_embeddings", 2048, most=LONGEST),
            "vocabulary": keys.count("vocab_size", most=MOST_TOKENS),
            "hidden": hidden,
            "intermediate": keys.count("intermediate_size", most=WIDEST),
            "layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
            "heads": heads,
            "eps": keys.number("rms_norm_eps", low=0.0, high=1.0),
            "rope": rope_from_hf(keys, heads.dim),
            "tied": keys.flag("tie_word_embeddings", False),
            "attention_bias": keys.flag("attention_bias", False),
            "mlp_bias": keys.flag("mlp_bias", False),
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        keys.integer("expert_count", 0, low=0, high=0)
        hidden = keys.count("embedding_length", most=WIDEST)
        layers = keys.count("block_count", most=MOST_LAYERS)
        heads = _gguf_heads(keys, hidden, layers)
        return {
            "context": keys.count("context_length", most=LONGEST),
            "vocabulary": keys.integer("vocab_size", None, high=MOST_TOKENS),
            "hidden": hidden,
            "intermediate": keys.uniform("feed_forward_length", most=WIDEST, layers=layers),
            "layers": layers,
            "heads": heads,
            "eps": keys.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
            "rope": rope_from_gguf(keys, heads.dim, interleaved=cls.gguf_interleaved),
            "tied": None,
            "attention_bias": None,
            "mlp_bias": None,
        }


def gguf_keys(keys: Mapping[str, Any]) -> Keys:
    """The key-values under the file's own architecture."""
    architecture = keys.get("general.architecture")
    return Keys(keys, f"{architecture}." if isinstance(architecture, str) else "llama.")


def _hf_heads(keys: Keys, hidden: int, default_dim: int | None) -> Heads:
    queries = keys.count("num_attention_heads", most=WIDEST)
    answering = keys.count("num_key_value_heads", queries, most=WIDEST)
    divides(keys, ("num_attention_heads", queries), ("num_key_value_heads", answering))
    if default_dim is None and not keys.has("head_dim"):
        divides(keys, ("hidden_size", hidden), ("num_attention_heads", queries))
        default_dim = hidden // queries
    return _checked(keys, Heads(queries, answering, keys.count("head_dim", default_dim or 1, most=WIDEST)), "head_dim")


def _gguf_heads(keys: Keys, hidden: int, layers: int) -> Heads:
    queries = keys.uniform("attention.head_count", most=WIDEST, layers=layers)
    answering = queries
    if keys.has("attention.head_count_kv"):
        answering = keys.uniform("attention.head_count_kv", most=WIDEST, layers=layers)
    divides(keys, ("attention.head_count", queries), ("attention.head_count_kv", answering))
    if not keys.has("attention.key_length"):
        divides(keys, ("embedding_length", hidden), ("attention.head_count", queries))
    dim = keys.count("attention.key_length", hidden // queries, most=WIDEST)
    if keys.count("attention.value_length", dim, most=WIDEST) != dim:
        raise keys.error("attention.value_length", f"it is not attention.key_length, {dim}")
    return _checked(keys, Heads(queries, answering, dim), "attention.key_length")


def _checked(keys: Keys, heads: Heads, key: str) -> Heads:
    if heads.dim % 2 or heads.queries * heads.dim > WIDEST:
        raise keys.error(key, f"{heads.queries} heads of {heads.dim} numbers cannot be")
    return heads


class Block(nn.Module):
    """One layer: attention and feed-forward, each on a norm of what came before, each added to it."""

    def __init__(self, attention_norm: RMSNorm, attention: Attention, mlp_norm: RMSNorm, mlp: GatedMLP) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm, self.mlp = attention_norm, attention, mlp_norm, mlp

    def forward(self, hidden: Tensor, rotation: ops.Rotation, batch: Batch, cache: PagedView) -> Tensor:
        hidden = self.attention(self.attention_norm(hidden), rotation, batch, cache, onto=hidden)
        out: Tensor = self.mlp(self.mlp_norm(hidden), onto=hidden)
        return out


class Llama(Model):
    Config: ClassVar[type[ModelConfig]] = LlamaConfig

    config: LlamaConfig

    def __init__(
        self,
        config: LlamaConfig,
        place: Placement,
        embed: Embedding,
        blocks: list[Block],
        norm: RMSNorm,
        head: Head,
        rope: Rope,
    ) -> None:
        super().__init__()
        self.config, self.place = config, place
        self.embed, self.blocks, self.norm, self.head, self.rope = embed, nn.ModuleList(blocks), norm, head, rope

    def forward(self, batch: Batch) -> Tensor:
        rotation = self.rope(batch.positions)
        hidden: Tensor = self.embed(batch.ids)
        for block, cache in zip(self.blocks, batch.cache, strict=True):
            hidden = block(hidden, rotation, batch, cache)
        out: Tensor = self.norm(hidden)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.head(hidden)
        return scores

    def cache_spec(self) -> CacheSpec:
        attentions = (module for module in self.modules() if isinstance(module, Attention))
        return CacheSpec(tuple(attention.cache_layer() for attention in attentions))

    @classmethod
    def load(cls, weights: WeightLoader, config: LlamaConfig, place: Placement) -> Self:
        root = Checkpoint(weights, place, gguf_name if weights.metadata.format == "gguf" else str)
        trunk = root / "model"
        embed = Embedding.load(trunk / "embed_tokens", config.vocabulary, config.hidden)
        blocks = [cls.block(trunk / "layers" / layer, config, layer) for layer in range(config.layers)]
        norm = RMSNorm.load(trunk / "norm", config.hidden, config.eps)
        head = Head.load(root / "lm_head", embed, config.hidden, config.tied)
        rope = Rope.load(root, config.rope)
        root.finish(lambda name: name.endswith("rotary_emb.inv_freq") or (head.tied and name == "lm_head.weight"))
        return cls(replace(config, vocabulary=embed.vocabulary), place, embed, blocks, norm, head, rope)

    @classmethod
    def block(cls, place: Checkpoint, config: LlamaConfig, layer: int) -> Block:
        return Block(
            RMSNorm.load(place / "input_layernorm", config.hidden, config.eps),
            cls.attention(place / "self_attn", config, layer),
            RMSNorm.load(place / "post_attention_layernorm", config.hidden, config.eps),
            GatedMLP.load(place / "mlp", config.hidden, config.intermediate, config.mlp_bias),
        )

    @classmethod
    def attention(cls, place: Checkpoint, config: LlamaConfig, layer: int) -> Attention:
        bias = config.attention_bias
        spec = attention_spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias)


def attention_spec(config: LlamaConfig, layer: int) -> AttentionSpec:
    return AttentionSpec(scale=config.heads.dim**-0.5, window=config.window(layer))

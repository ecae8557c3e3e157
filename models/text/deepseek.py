"""DeepSeek V2 and V3, with R1: latent attention, and experts in all but the first layers. V2 finds experts by softmax
and groups by their best; V3 by sigmoid, with a bias for the choice, and groups by their best two. GGUF calls both
`deepseek2`. V1 has ordinary attention and no groups.

The layers that V3's files have beyond the last one guess further tokens; nothing here needs them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log
from typing import Any, ClassVar, Final, Self

from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..contract import AttentionSpec
from ..names import Names, gguf_name
from ..parts.attention import Heads
from ..parts.checkpoint import Checkpoint
from ..parts.mla import MLA, Latent
from ..parts.moe import Routing
from ..parts.rope import RopeConfig
from ..parts.scaling import Yarn, yarn_factor
from ..rope_keys import rope_from_gguf, rope_from_hf
from .decoder import DecoderConfig, gguf_keys
from .mixture import STRONGEST, Mixing, Mixture, first_dense, gguf_expert_width, gguf_routing, gguf_score, hf_routing

_EPS: Final = 1e-6  # of the norms of latents, whatever the config says of others


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSeekConfig(DecoderConfig):
    """V1's."""

    mixes: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-6

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        return cls(**cls._hf_fields(spelled), mixture=hf_mixture(spelled, cls._hf_routing(spelled)))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        return cls(**cls._gguf_fields(spelled), mixture=gguf_mixture(spelled, cls._gguf_routing(spelled)))

    @classmethod
    def _hf_routing(cls, keys: Keys) -> Routing:
        return hf_routing(keys, normalised=keys.flag("norm_topk_prob", False))

    @classmethod
    def _gguf_routing(cls, keys: Keys) -> Routing:
        return gguf_routing(keys, normalised=keys.flag("expert_weights_norm", False))


def hf_mixture(keys: Keys, routing: Routing) -> Mixture:
    if keys.integer("moe_layer_freq", 1, low=1, high=MOST_LAYERS) != 1:
        raise keys.error("moe_layer_freq", "dense layers after the first with experts are not computed here")
    width = keys.count("moe_intermediate_size", most=WIDEST)
    shared = keys.integer("n_shared_experts", 0, low=0, high=WIDEST // width)
    dense = first_dense(keys, "first_k_dense_replace")
    return Mixture(routing=routing, intermediate=width, shared=shared * width or None, dense=dense)


def gguf_mixture(keys: Keys, routing: Routing) -> Mixture:
    width = gguf_expert_width(keys)
    shared = keys.integer("expert_shared_count", 0, low=0, high=WIDEST // width)
    dense = first_dense(keys, "leading_dense_block_count")
    return Mixture(routing=routing, intermediate=width, shared=shared * width or None, dense=dense)


def hf_groups(keys: Keys, best: int) -> dict[str, int]:
    groups = keys.integer("n_group", 1, low=1, high=WIDEST)
    if groups == 1:
        return {}
    return {"groups": groups, "kept": keys.count("topk_group", most=groups), "best_of_group": best}


def sigmoid_routing(keys: Keys) -> Routing:
    """V3's way, which others share."""
    scale = keys.number("routed_scaling_factor", 1.0, low=0.0, high=STRONGEST)
    normalised = keys.flag("norm_topk_prob", True)
    return hf_routing(
        keys, score="sigmoid", corrected=True, normalised=normalised, scale=scale, **hf_groups(keys, best=2)
    )


def gguf_scored_routing(keys: Keys) -> Routing:
    """As the file says how experts are scored; those by sigmoid have a bias for the choice."""
    score = gguf_score(keys)
    groups = keys.integer("expert_group_count", 1, low=1, high=WIDEST)
    kept = {} if groups == 1 else {"groups": groups, "kept": keys.count("expert_group_used_count", most=groups)}
    return gguf_routing(
        keys,
        score=score,
        corrected=score == "sigmoid",
        normalised=keys.flag("expert_weights_norm", False),
        scale=keys.number("expert_weights_scale", 1.0, low=0.0, high=STRONGEST),
        best_of_group=2 if groups > 1 and score == "sigmoid" else 1,
        **kept,
    )


class DeepSeek(Mixing):
    Config: ClassVar[type[ModelConfig]] = DeepSeekConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSeek2Config(DeepSeekConfig):
    """`sharpness` is what YaRN multiplies all of the scores by, beside what it does to turns."""

    latent: Latent
    sharpness: float

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(DeepSeek2Config, cls)._hf_fields(keys)
        return {**fields, "latent": _hf_latent(keys, fields["heads"].queries), "sharpness": _hf_sharpness(keys)}

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:  # noqa: ARG003
        """As if each head had keys of its own."""
        queries = keys.count("num_attention_heads", most=WIDEST)
        sizes = _hf_latent(keys, queries)
        return Heads(queries, queries, sizes.key)

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:  # noqa: ARG003
        turning = keys.count("qk_rope_head_dim", most=WIDEST)
        return rope_from_hf(keys, turning, interleaved=keys.flag("rope_interleave", True))

    @classmethod
    def _hf_routing(cls, keys: Keys) -> Routing:
        choices = {"greedy": "greedy", "group_limited_greedy": "groups"}
        grouped = keys.word("topk_method", choices, "greedy") == "groups"
        scale = keys.number("routed_scaling_factor", 1.0, low=0.0, high=STRONGEST)
        normalised = keys.flag("norm_topk_prob", False)
        groups = hf_groups(keys, best=1) if grouped else {}
        return hf_routing(keys, normalised=normalised, scale=1.0 if normalised else scale, **groups)

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        queries = keys.uniform("attention.head_count", most=WIDEST, layers=keys.count("block_count", most=MOST_LAYERS))
        sizes = _gguf_latent(keys, queries)
        plain = {
            **keys.values,
            f"{keys.prefix}attention.head_count_kv": queries,
            f"{keys.prefix}attention.key_length": sizes.key,
            f"{keys.prefix}attention.value_length": sizes.key,
        }
        fields = super(DeepSeek2Config, cls)._gguf_fields(replace(keys, values=plain))
        rope = rope_from_gguf(keys, sizes.turning, interleaved=True)
        sharpness = 1.0
        if isinstance(rope.scaling, Yarn):
            steep = keys.number("rope.scaling.yarn_log_multiplier", 0.0, low=0.0, high=STRONGEST)
            sharpness = (1.0 + steep * log(rope.scaling.stretch)) ** 2
            rope = replace(rope, scaling=replace(rope.scaling, factor=1.0))
        return {**fields, "rope": rope, "latent": sizes, "sharpness": sharpness}

    @classmethod
    def _gguf_routing(cls, keys: Keys) -> Routing:
        return gguf_scored_routing(keys)


def _hf_latent(keys: Keys, heads: int) -> Latent:
    return Latent(
        heads=heads,
        rank=keys.count("kv_lora_rank", most=WIDEST),
        query_rank=keys.integer("q_lora_rank", None, high=WIDEST),
        still=keys.count("qk_nope_head_dim", most=WIDEST // heads),
        turning=keys.count("qk_rope_head_dim", most=WIDEST // heads),
        value=keys.count("v_head_dim", most=WIDEST // heads),
        eps=_EPS,
    )


def _gguf_latent(keys: Keys, heads: int) -> Latent:
    turning = keys.count("rope.dimension_count", most=WIDEST // heads)
    key = keys.count("attention.key_length_mla", most=WIDEST // heads)
    if key <= turning:
        raise keys.error("attention.key_length_mla", f"{key} is not above rope.dimension_count, {turning}")
    return Latent(
        heads=heads,
        rank=keys.count("attention.kv_lora_rank", most=WIDEST),
        query_rank=keys.integer("attention.q_lora_rank", 0, low=0, high=WIDEST) or None,
        still=key - turning,
        turning=turning,
        value=keys.count("attention.value_length_mla", most=WIDEST // heads),
        eps=keys.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
    )


def _hf_sharpness(keys: Keys) -> float:
    section = keys.section("rope_scaling") or keys.section("rope_parameters")
    if section is None or not section.has("factor"):
        return 1.0
    stretch = section.number("factor", low=1e-6, high=1e6)
    everywhere = section.number("mscale_all_dim", 0.0, low=0.0, high=STRONGEST)
    return yarn_factor(stretch, everywhere) ** 2 if everywhere else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSeek3Config(DeepSeek2Config):
    @classmethod
    def _hf_routing(cls, keys: Keys) -> Routing:
        return sigmoid_routing(keys)


class DeepSeek2(Mixing):
    Config: ClassVar[type[ModelConfig]] = DeepSeek2Config
    gguf_names: ClassVar[Names] = gguf_name.but(
        {
            "self_attn.q_a_proj": "attn_q_a",
            "self_attn.q_b_proj": "attn_q_b",
            "self_attn.q_a_layernorm": "attn_q_a_norm",
            "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
            "self_attn.kv_a_layernorm": "attn_kv_a_norm",
            "self_attn.kv_b_proj": "attn_kv_b",
            "self_attn.k_b_proj": "attn_k_b",
            "self_attn.v_b_proj": "attn_v_b",
        }
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Any:
        spec = AttentionSpec(scale=config.latent.key**-0.5 * config.sharpness, window=config.window(layer))
        return MLA.load(place, config.hidden, config.latent, spec, config.attention_bias)

    @classmethod
    def is_spare(cls, name: str, config: Any) -> bool:
        return super().is_spare(name, config) or beyond(name, config.layers)


class DeepSeek3(DeepSeek2):
    Config: ClassVar[type[ModelConfig]] = DeepSeek3Config


def beyond(name: str, layers: int) -> bool:
    """Whether a tensor is of a layer after the last."""
    found = name.split(".")
    at = 1 if found[0] == "blk" else 2 if found[:2] == ["model", "layers"] else 0
    return at > 0 and len(found) > at and found[at].isdigit() and int(found[at]) >= layers

"""Grok-1, as it was ported to Hugging Face's layout: norms before and after each branch, scores bounded by tanh, and
experts whose shares are not normalised. Its curve is GELU's tanh form, whatever a port's config says: that of the
original.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from .. import ops
from ..config import Keys, ModelConfig
from ..contract import AttentionSpec, Placement
from ..names import Names, gguf_name
from ..parts.block import Block
from ..parts.checkpoint import Checkpoint
from ..parts.vocabulary import Embedding, Head
from .decoder import LARGEST, DecoderConfig, gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing

_SOFTCAP: Final = 30.0
_EMBEDDING: Final = 78.38367176906169
_ATTENTION: Final = 0.08838834764831845
_SCORES: Final = 0.5773502691896257


@dataclass(frozen=True, slots=True, kw_only=True)
class GrokConfig(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    default_tied: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5
    activations: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("gelu", "gelu_new", "gelu_pytorch_tanh", "silu"), "gelu_new"
    )
    default_activation: ClassVar[str] = "gelu"

    mixture: Mixture
    embedding_scale: float = _EMBEDDING
    attention_scale: float = _ATTENTION
    logit_scale: float = _SCORES
    softcap: float = _SOFTCAP

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        mixture = Mixture(routing=hf_routing(spelled, normalised=False), intermediate=fields["intermediate"])
        return cls(
            **fields,
            mixture=mixture,
            embedding_scale=_factor(spelled, "embedding_multiplier_scale", _EMBEDDING),
            attention_scale=_factor(spelled, "attn_output_multiplier", _ATTENTION),
            logit_scale=_factor(spelled, "output_multiplier_scale", _SCORES),
        )

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Old files hold no factors."""
        spelled = gguf_keys(keys)
        mixture = Mixture(routing=gguf_routing(spelled, normalised=False), intermediate=gguf_expert_width(spelled))
        return cls(
            **cls._gguf_fields(spelled),
            mixture=mixture,
            embedding_scale=_factor(spelled, "embedding_scale", _EMBEDDING),
            attention_scale=_factor(spelled, "attention.output_scale", _ATTENTION),
            logit_scale=_factor(spelled, "logit_scale", _SCORES),
            softcap=_factor(spelled, "attn_logit_softcapping", _SOFTCAP),
        )


def _factor(keys: Keys, key: str, default: float) -> float:
    return keys.number(key, default, low=1e-6, high=LARGEST)


class Grok(Mixing):
    Config: ClassVar[type[ModelConfig]] = GrokConfig
    experts: ClassVar[tuple[str, str, str]] = ("linear", "linear_v", "linear_1")
    curve: ClassVar[Any] = staticmethod(ops.gelu_mul)
    gguf_names: ClassVar[Names] = gguf_name.but(
        {
            "after_attention": "attn_output_norm",
            "post_attention_layernorm": "ffn_norm",
            "after_mlp": "layer_output_norm",
        }
    )

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:  # noqa: ARG003
        scale: float = config.embedding_scale
        return scale

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> Block:
        return Block(
            cls.norm_of(place / "input_layernorm", config),
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "post_attention_layernorm", config),
            cls.feed_forward(place, config, layer),
            after_attention=cls.norm_of(place / "after_attention", config),
            after_mlp=cls.norm_of(place / "after_mlp", config),
        )

    @classmethod
    def home_of(cls, place: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
        return place / "mlp", place / "mlp" / "gate"

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return replace(super().spec(config, layer), scale=config.attention_scale, softcap=config.softcap)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, scale=config.logit_scale)

    @classmethod
    def names(cls, weights: Any) -> Any:
        return cls.gguf_names if weights.metadata.format == "gguf" else port_name


_PORT: Final = Names(
    "transformer.decoder_layer",
    {
        "model.embed_tokens": "transformer.in_out_embed",
        "model.norm": "transformer.rms_norm",
        "input_layernorm": "rms_norm",
        "after_attention": "rms_norm_1",
        "post_attention_layernorm": "rms_norm_2",
        "after_mlp": "rms_norm_3",
        "self_attn.q_proj": "multi_head_attention.query",
        "self_attn.k_proj": "multi_head_attention.key",
        "self_attn.v_proj": "multi_head_attention.value",
        "self_attn.o_proj": "multi_head_attention.linear",
        "mlp.gate": "router",
    },
)


def port_name(name: str) -> str:
    """`model.layers.3.mlp.experts.5.linear.weight` -> `transformer.decoder_layer.3.moe.5.linear.weight`."""
    return _PORT(name).replace(".mlp.experts.", ".moe.")

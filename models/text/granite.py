"""Granite 3, and MiniCPM 1 and 2: Llama, but embeddings, branches, attention and scores are multiplied by constants."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..config import WIDEST, Keys, ModelConfig
from ..contract import AttentionSpec, Placement
from ..parts.block import Block
from ..parts.checkpoint import Checkpoint
from ..parts.vocabulary import Embedding, Head
from .decoder import LARGEST, AnyBlock, Decoder, DecoderConfig, attention_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class GraniteConfig(DecoderConfig):
    """None in `attention_scale`: as others have it."""

    default_eps: ClassVar[float | None] = 1e-6

    embedding_scale: float
    residual_scale: float
    attention_scale: float | None
    logit_scale: float

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GraniteConfig, cls)._hf_fields(keys)
        return {
            **fields,
            "embedding_scale": _factor(keys, "embedding_multiplier"),
            "residual_scale": _factor(keys, "residual_multiplier"),
            "attention_scale": _factor(keys, "attention_multiplier"),
            "logit_scale": 1.0 / _factor(keys, "logits_scaling"),
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GraniteConfig, cls)._gguf_fields(keys)
        scale = _factor(keys, "attention.scale", 0.0, least=0.0)
        return {
            **fields,
            "embedding_scale": _factor(keys, "embedding_scale"),
            "residual_scale": _factor(keys, "residual_scale"),
            "attention_scale": scale or None,
            "logit_scale": 1.0 / _factor(keys, "logit_scale"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniCPMConfig(GraniteConfig):
    """The first GGUF files hold none of the constants, which were then the same for all."""

    default_tied: ClassVar[bool | None] = True

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(MiniCPMConfig, cls)._hf_fields(keys)
        return {
            **fields,
            "embedding_scale": _factor(keys, "scale_emb"),
            "residual_scale": _factor(keys, "scale_depth") / fields["layers"] ** 0.5,
            "attention_scale": None,
            "logit_scale": keys.count("dim_model_base", 1, most=WIDEST) / fields["hidden"],
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(MiniCPMConfig, cls)._gguf_fields(keys)
        return {
            **fields,
            "embedding_scale": _factor(keys, "embedding_scale", 12.0),
            "residual_scale": _factor(keys, "residual_scale", 1.4 / fields["layers"] ** 0.5),
            "attention_scale": None,
            "logit_scale": 1.0 / _factor(keys, "logit_scale", fields["hidden"] / 256),
        }


def _factor(keys: Keys, key: str, default: float = 1.0, *, least: float = 1e-6) -> float:
    return keys.number(key, default, low=least, high=LARGEST)


class Granite(Decoder):
    Config: ClassVar[type[ModelConfig]] = GraniteConfig

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:  # noqa: ARG003
        scale: float = config.embedding_scale
        return scale

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return Block(
            cls.norm_of(place / "input_layernorm", config),
            cls.mixer(place, config, layer),
            cls.norm_of(place / "post_attention_layernorm", config),
            cls.feed_forward(place, config, layer),
            scale=config.residual_scale,
        )

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        spec = attention_spec(config, layer)
        return spec if config.attention_scale is None else replace(spec, scale=config.attention_scale)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, scale=config.logit_scale)


class MiniCPM(Granite):
    Config: ClassVar[type[ModelConfig]] = MiniCPMConfig

"""OLMoE: Llama with experts, and norms over all of a layer's queries, or keys, together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..config import ModelConfig
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from .decoder import LARGEST, DecoderConfig, gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing
from .olmo import whole_norms


@dataclass(frozen=True, slots=True, kw_only=True)
class OlmoeConfig(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5

    mixture: Mixture
    clip: float | None = None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        routing = hf_routing(spelled, normalised=spelled.flag("norm_topk_prob", False))
        clip = spelled.number("clip_qkv", low=1e-6, high=LARGEST) if spelled.has("clip_qkv") else None
        return cls(**fields, clip=clip, mixture=Mixture(routing=routing, intermediate=fields["intermediate"]))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        routing = gguf_routing(spelled, normalised=False)
        return cls(
            **cls._gguf_fields(spelled), mixture=Mixture(routing=routing, intermediate=gguf_expert_width(spelled))
        )


class Olmoe(Mixing):
    Config: ClassVar[type[ModelConfig]] = OlmoeConfig

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec, heads = config.attention_bias, cls.spec(config, layer), config.heads
        norms = whole_norms(place, heads, config.eps)
        return Attention.load(
            place, config.hidden, heads, spec, qkv_bias=bias, out_bias=bias, norms=norms, clip=config.clip
        )

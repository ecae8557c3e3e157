"""Baichuan 1 and 2: Llama with one matrix of queries, keys and values. The 13B models have slopes and nothing turns;
those of version 2 divide scores by the length of each token's row.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ..config import Keys, ModelConfig
from ..names import Names
from ..parts.attention import Attention, alibi_slopes
from ..parts.checkpoint import Checkpoint
from ..parts.vocabulary import Embedding, Head
from .decoder import Decoder, DecoderConfig

_FIRST: Final = 64_000  # tokens of version 1; nothing else tells the versions apart
_LARGE: Final = 40  # layers of the 13B models


@dataclass(frozen=True, slots=True, kw_only=True)
class BaichuanConfig(DecoderConfig):
    """`normed`: rows of the head are divided by their length; a GGUF holds them so."""

    default_eps: ClassVar[float | None] = 1e-6
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "max_position_embeddings": ("max_position_embeddings", "model_max_length")
    }

    sloped: bool
    normed: bool

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        """Only models whose positions turn say how many there may be under the usual name."""
        fields, sloped = super(BaichuanConfig, cls)._hf_fields(keys), "max_position_embeddings" not in keys.values
        rope = None if sloped else fields["rope"]
        return {**fields, "rope": rope, "sloped": sloped, "normed": fields["vocabulary"] > _FIRST}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(BaichuanConfig, cls)._gguf_fields(keys)
        sloped = fields["layers"] == _LARGE
        return {**fields, "rope": None if sloped else fields["rope"], "sloped": sloped, "normed": False}


class Baichuan(Decoder):
    Config: ClassVar[type[ModelConfig]] = BaichuanConfig
    hf_names: ClassVar[Names] = Names("model.layers", {"self_attn.qkv_proj": "self_attn.W_pack"})
    ignored: ClassVar[tuple[str, ...]] = ("inv_freq", "future_mask")

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = cls.spec(config, layer)
        if config.sloped:
            spec = replace(spec, alibi=alibi_slopes(config.heads.queries, place.place.device))
        return Attention.load(place, config.hidden, config.heads, spec, order="stacked")

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, by_length=config.normed)

"""StableLM: Llama with layer norms, of which a quarter of each head turns; some are side by side, or norm heads."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ..config import Keys, ModelConfig
from ..parts.attention import Attention, Norms
from ..parts.checkpoint import Checkpoint
from ..parts.norm import HeadsNorm, LayerNorm
from ..parts.split import Split
from .decoder import AnyBlock, Decoder, DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StableLMConfig(DecoderConfig):
    """None in `normed` and `parallel`: a GGUF does not say, whatever tensors it has count."""

    gguf_interleaved: ClassVar[bool] = False
    rotary_share: ClassVar[float] = 0.25
    default_eps: ClassVar[float | None] = 1e-5
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("layer_norm_eps", "norm_eps"),
        "attention_bias": ("use_qkv_bias",),
        "partial_rotary_factor": ("partial_rotary_factor", "rope_pct"),
    }

    normed: bool | None
    parallel: bool | None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(StableLMConfig, cls)._hf_fields(keys)
        return {
            **fields,
            "normed": keys.flag("qk_layernorm", False),
            "parallel": keys.flag("use_parallel_residual", False),
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        return {**super(StableLMConfig, cls)._gguf_fields(keys), "normed": None, "parallel": None}


class StableLM(Decoder):
    Config: ClassVar[type[ModelConfig]] = StableLMConfig

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps)

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        second = place / "post_attention_layernorm" / "weight"
        parallel = not second.exists() if config.parallel is None else config.parallel
        if not parallel:
            return super().block(place, config, layer)
        return cls.side_by_side(place, config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec, norms = cls.spec(config, layer), _norms(place, config)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=config.attention_bias, norms=norms)


def _norms(place: Checkpoint, config: StableLMConfig) -> Norms | None:
    if place.in_gguf:
        if not (place / "q_norm" / "weight").exists():
            return None
        queries, keys = config.heads.queries, config.heads.keys
        return (
            HeadsNorm.load(place / "q_norm", queries, config.heads.dim, config.eps),
            HeadsNorm.load(place / "k_norm", keys, config.heads.dim, config.eps),
        )
    if not config.normed:
        return None
    return _apart(place / "q_layernorm", config.heads.queries, config), _apart(
        place / "k_layernorm", config.heads.keys, config
    )


def _apart(place: Checkpoint, heads: int, config: StableLMConfig) -> HeadsNorm:
    """From a tensor for each head."""
    part = Split("heads").part(heads, place.place, place.path)
    weights = [(place / "norms" / head / "weight").vector(config.heads.dim) for head in range(heads)]
    stacked = torch.stack(weights)
    return HeadsNorm(stacked if part is None else stacked[part.start : part.stop], config.eps)

"""Nemotron and Minitron: layer norms stored less 1, of each head one half turns, and relu squared without a gate."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import ModelConfig
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import MLP
from ..parts.norm import LayerNorm
from .decoder import Decoder, DecoderConfig
from .gpt import CURVES


@dataclass(frozen=True, slots=True, kw_only=True)
class NemotronConfig(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    rotary_share: ClassVar[float] = 0.5
    default_eps: ClassVar[float | None] = 1e-5
    activations: ClassVar[dict[str, str]] = CURVES
    default_activation: ClassVar[str] = "relu2"
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("norm_eps",),
        "partial_rotary_factor": ("partial_rotary_factor", "rope_percent"),
    }


class Nemotron(Decoder):
    Config: ClassVar[type[ModelConfig]] = NemotronConfig

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps, offset=1.0)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return MLP.load(place, config.hidden, config.intermediate, config.activation, config.mlp_bias)

"""Phi-3, Phi-3.5 mini, Phi-4 and Phi-4 mini: Llama with stacked projections, a window or LongRoPE."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import LONGEST, Keys, ModelConfig
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import GatedMLP
from .decoder import Decoder, DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Phi3Config(DecoderConfig):
    """The same window in all layers, or none."""

    gguf_interleaved: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = 1e-5

    sliding_window: int | None

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Phi3Config, cls)._hf_fields(keys)
        return {**fields, "sliding_window": keys.window("sliding_window", absent=None)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        """Writers say 0 for no window."""
        fields = super(Phi3Config, cls)._gguf_fields(keys)
        window = keys.integer("attention.sliding_window", 0, low=0, high=LONGEST)
        return {**fields, "sliding_window": window or None}


class Phi3(Decoder):
    Config: ClassVar[type[ModelConfig]] = Phi3Config
    beside: ClassVar[tuple[str, ...]] = ("model.vision_embed_tokens.",)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        return Attention.load(place, config.hidden, config.heads, cls.spec(config, layer), order="stacked")

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedMLP.load(place, config.hidden, config.intermediate, stacked=True)

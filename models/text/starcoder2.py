"""StarCoder 2: Llama's attention with biases and a window, layer norms, and a plain feed-forward layer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import LONGEST, Keys, ModelConfig
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import MLP
from ..parts.norm import LayerNorm
from .decoder import Decoder, DecoderConfig
from .gpt import CURVES


@dataclass(frozen=True, slots=True, kw_only=True)
class StarCoder2Config(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    default_tied: ClassVar[bool | None] = True
    default_bias: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5
    activations: ClassVar[dict[str, str]] = CURVES
    default_activation: ClassVar[str] = "gelu_pytorch_tanh"
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("norm_epsilon",),
        "attention_bias": ("use_bias",),
        "mlp_bias": ("use_bias",),
    }

    sliding_window: int | None

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(StarCoder2Config, cls)._hf_fields(keys)
        return {**fields, "sliding_window": keys.window("sliding_window", absent=None)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        """Writers say 0 for no window."""
        fields = super(StarCoder2Config, cls)._gguf_fields(keys)
        return {**fields, "sliding_window": keys.integer("attention.sliding_window", 0, low=0, high=LONGEST) or None}


class StarCoder2(Decoder):
    Config: ClassVar[type[ModelConfig]] = StarCoder2Config
    hf_names: ClassVar[Names] = Names("model.layers", {"mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj"})

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return MLP.load(place, config.hidden, config.intermediate, config.activation, config.mlp_bias)

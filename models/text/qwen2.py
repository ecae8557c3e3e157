"""Qwen2 and 2.5: Llama, but query, key and value carry biases, and some layers may have a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from ..config import MOST_LAYERS, Keys, ModelConfig
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from .llama import Llama, LlamaConfig, attention_spec, gguf_keys

_LAYER_TYPES: Final = {"full_attention": "full", "sliding_attention": "sliding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen2Config(LlamaConfig):
    """`windows` has an entry a layer. A GGUF states none: no release has one."""

    gguf_interleaved: ClassVar[bool] = False

    windows: tuple[int | None, ...]

    def window(self, layer: int) -> int | None:
        return self.windows[layer]

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        fields = cls._hf_fields(Keys(keys))
        return cls(**fields, windows=_windows(Keys(keys), fields["layers"]))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        fields = cls._gguf_fields(gguf_keys(keys))
        return cls(**fields, windows=(None,) * fields["layers"])


def _windows(keys: Keys, layers: int) -> tuple[int | None, ...]:
    """Layers from `max_window_layers` on have the window, unless `layer_types` names each."""
    window = keys.window("sliding_window", absent=4096) if keys.flag("use_sliding_window", False) else None
    if keys.has("layer_types"):
        kinds = keys.words("layer_types", _LAYER_TYPES, layers)
        if window is None and "sliding" in kinds:
            raise keys.error("layer_types", "it has sliding layers, but use_sliding_window is false")
        return tuple(window if kind == "sliding" else None for kind in kinds)
    first = keys.integer("max_window_layers", 28, low=0, high=MOST_LAYERS)
    return tuple(window if layer >= first else None for layer in range(layers))


class Qwen2(Llama):
    Config: ClassVar[type[ModelConfig]] = Qwen2Config

    @classmethod
    def attention(cls, place: Checkpoint, config: LlamaConfig, layer: int) -> Attention:
        return Attention.load(place, config.hidden, config.heads, attention_spec(config, layer), qkv_bias=True)

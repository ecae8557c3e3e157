"""SmolLM 3: Llama, but in every fourth layer nothing turns."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import MOST_LAYERS, Keys, ModelConfig
from ..parts.rope import RopeConfig
from .decoder import Decoder, DecoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SmolLM3Config(DecoderConfig):
    """`turning` says of each layer whether its queries and keys turn."""

    default_tied: ClassVar[bool | None] = True
    default_eps: ClassVar[float | None] = 1e-6

    turning: tuple[bool, ...]

    def turn(self, layer: int) -> RopeConfig | None:
        return self.rope if self.turning[layer] else None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        if keys.flag("use_sliding_window", False):
            raise keys.error("use_sliding_window", "no published model of this kind has windows")
        fields = super(SmolLM3Config, cls)._hf_fields(keys)
        layers = fields["layers"]
        if keys.has("no_rope_layers"):
            said = keys.numbers("no_rope_layers", layers, low=0, high=1)
            return {**fields, "turning": tuple(bool(turns) for turns in said)}
        return {**fields, "turning": _all_but(keys.count("no_rope_layer_interval", 4, most=MOST_LAYERS), layers)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(SmolLM3Config, cls)._gguf_fields(keys)
        return {**fields, "turning": _all_but(4, fields["layers"])}


def _all_but(every: int, layers: int) -> tuple[bool, ...]:
    return tuple((layer + 1) % every != 0 for layer in range(layers))


class SmolLM3(Decoder):
    Config: ClassVar[type[ModelConfig]] = SmolLM3Config

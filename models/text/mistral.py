"""Mistral: Llama, but a token may see only a window of those before it. GGUF calls both `llama`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..config import LONGEST, Keys, ModelConfig
from .llama import Llama, LlamaConfig, gguf_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class MistralConfig(LlamaConfig):
    """The same window in all layers, or none: version 0.1 has one, its successors say null."""

    sliding_window: int | None

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._hf_fields(Keys(keys)), sliding_window=Keys(keys).window("sliding_window", absent=4096))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Writers say 0 for no window."""
        window = gguf_keys(keys).integer("attention.sliding_window", 0, low=0, high=LONGEST)
        return cls(**cls._gguf_fields(gguf_keys(keys)), sliding_window=window or None)


class Mistral(Llama):
    Config: ClassVar[type[ModelConfig]] = MistralConfig

"""Llama 1 to 3.2, and all that is built alike: TinyLlama, CodeLlama, Yi, SmolLM2, Falcon 3, DeepSeek LLM, InternLM 3.

Pre-norm blocks of grouped-query attention with rotary positions and a gated feed-forward layer: what `Decoder` is
unless a family says otherwise. Cousins import this file and state their difference.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..config import ModelConfig
from ..parts.block import Block
from ..parts.rope import RopeConfig
from .decoder import Decoder, DecoderConfig, attention_spec, gguf_keys

__all__ = ["Block", "Llama", "LlamaConfig", "attention_spec", "gguf_keys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig(DecoderConfig):
    """What all decoders have; queries and keys always turn."""

    rope: RopeConfig


class Llama(Decoder):
    Config: ClassVar[type[ModelConfig]] = LlamaConfig

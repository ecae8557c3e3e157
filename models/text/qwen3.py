"""Qwen3: Qwen2, but each head's query and key are normalised, and biases are as Llama's: usually none."""

from dataclasses import dataclass
from typing import ClassVar

from ..config import ModelConfig
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from .llama import LlamaConfig, attention_spec
from .qwen2 import Qwen2, Qwen2Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    """A head is 128 wide unless it is said otherwise, whatever the hidden size."""

    default_head_dim: ClassVar[int | None] = 128


class Qwen3(Qwen2):
    Config: ClassVar[type[ModelConfig]] = Qwen3Config

    @classmethod
    def attention(cls, place: Checkpoint, config: LlamaConfig, layer: int) -> Attention:
        bias, spec = config.attention_bias, attention_spec(config, layer)
        return Attention.load(
            place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, norm_eps=config.eps
        )

"""Qwen, the first: Llama with biases on one matrix of queries, keys and values, and names of its own.

Past the length that it was trained with its positions turn at a slower pace, and queries grow with the logarithm of how
many tokens they see.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..config import LONGEST, Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.rope import RopeConfig
from ..parts.scaling import Unscaled
from ..rope_keys import SLOWEST
from .decoder import Decoder, DecoderConfig


@dataclass(frozen=True, slots=True)
class Doubling:
    """Past the `trained` length the base grows, each time that the length has doubled."""

    trained: int
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        doublings = torch.ceil(torch.log2((positions[:, None] + 1).float() / self.trained) + 1)
        stretch = (2**doublings - 1).clamp(min=1)
        exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim
        return 1.0 / (theta * stretch ** (dim / (dim - 2))) ** exponents


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenConfig(DecoderConfig):
    """`grown`: how many tokens a query may see before it grows; None: however many."""

    gguf_interleaved: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = 1e-6
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("layer_norm_epsilon",),
        "max_position_embeddings": ("max_position_embeddings", "seq_length"),
    }

    grown: int | None

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        """The file counts gate and up."""
        both = super(QwenConfig, cls)._hf_intermediate(keys)
        if both % 2:
            raise keys.error("intermediate_size", f"{both} is odd")
        return both // 2

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        theta = keys.number("rotary_emb_base", 10_000.0, low=1.01, high=SLOWEST)
        grows = keys.flag("use_dynamic_ntk", False) and head_dim > 2
        return RopeConfig(theta, head_dim, Doubling(_trained(keys)) if grows else Unscaled())

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(QwenConfig, cls)._hf_fields(keys)
        return {**fields, "grown": _trained(keys) if keys.flag("use_logn_attn", False) else None}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(QwenConfig, cls)._gguf_fields(keys)
        return {**fields, "intermediate": fields["intermediate"] // 2, "grown": None}


def _trained(keys: Keys) -> int:
    return keys.count("seq_length", 2048, most=LONGEST)


class Qwen(Decoder):
    """Gates are `w2`, what they multiply `w1`."""

    Config: ClassVar[type[ModelConfig]] = QwenConfig
    hf_names: ClassVar[Names] = Names(
        "transformer.h",
        {
            "model.embed_tokens": "transformer.wte",
            "model.norm": "transformer.ln_f",
            "input_layernorm": "ln_1",
            "self_attn.qkv_proj": "attn.c_attn",
            "self_attn.o_proj": "attn.c_proj",
            "post_attention_layernorm": "ln_2",
            "mlp.gate_proj": "mlp.w2",
            "mlp.up_proj": "mlp.w1",
            "mlp.down_proj": "mlp.c_proj",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        grown = None if config.grown is None else partial(_growth, trained=config.grown)
        spec = cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=True, order="stacked", sharpened=grown)


def _growth(positions: Tensor, trained: int) -> Tensor:
    return (torch.log((positions + 1).float()) / math.log(trained)).clamp(min=1)

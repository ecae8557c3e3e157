"""Ministral: Llama with windows in some layers. Ministral 3: without, but far tokens ask more sharply; where they do
not, it is Mistral Small from 3.1 on, whose files see images too and have GGUF's name of Ministral 3.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..config import LONGEST, Keys, ModelConfig
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.rope import RopeConfig
from ..parts.scaling import Yarn, yarn_factor
from .decoder import BESIDE, LARGEST, WITHIN, Decoder, DecoderConfig, WindowedConfig, layer_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class MinistralConfig(WindowedConfig):
    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(MinistralConfig, cls)._hf_fields(keys)
        window = keys.window("sliding_window", absent=4096)
        return {**fields, "windows": layer_windows(keys, fields["layers"], window, lambda _: False)}


class Ministral(Decoder):
    Config: ClassVar[type[ModelConfig]] = MinistralConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Ministral3Config(DecoderConfig):
    """A query is multiplied by 1 + `sharpness` * log(1 + whole multiples of `trained` before it)."""

    sharpness: float
    trained: int

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Ministral3Config, cls)._hf_fields(keys)
        section = keys.section("rope_parameters") or keys.section("rope_scaling") or Keys({}, "rope_parameters.")
        return {
            **fields,
            "sharpness": section.number("llama_4_scaling_beta", 0.0, low=0.0, high=LARGEST),
            "trained": section.count("original_max_position_embeddings", fields["context"], most=LONGEST),
        }

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Ministral3Config, cls)._gguf_fields(keys)
        rope: RopeConfig = fields["rope"]
        everywhere = keys.number("rope.scaling.yarn_log_multiplier", 0.0, low=0.0, high=LARGEST)
        if isinstance(rope.scaling, Yarn) and everywhere:
            factor = yarn_factor(rope.scaling.stretch) / yarn_factor(rope.scaling.stretch, everywhere)
            rope = replace(rope, scaling=replace(rope.scaling, factor=factor))
        return {
            **fields,
            "rope": rope,
            "sharpness": keys.number("attention.temperature_scale", 0.0, low=0.0, high=LARGEST),
            "trained": keys.count("rope.scaling.original_context_length", fields["context"], most=LONGEST),
        }


class Ministral3(Decoder):
    Config: ClassVar[type[ModelConfig]] = Ministral3Config
    within: ClassVar[tuple[tuple[str, str], ...]] = WITHIN
    beside: ClassVar[tuple[str, ...]] = BESIDE

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = cls.spec(config, layer)
        sharpened = partial(_sharpened, sharpness=config.sharpness, trained=config.trained)
        return Attention.load(place, config.hidden, config.heads, spec, sharpened=sharpened)


def _sharpened(positions: Tensor, sharpness: float, trained: int) -> Tensor:
    return 1 + sharpness * torch.log(1 + torch.floor(positions.float() / trained))

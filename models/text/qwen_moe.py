"""Qwen2-MoE and Qwen3-MoE: Qwen2 and Qwen3 with experts in most layers; Qwen2-MoE has one more that every token takes,
times a gate of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Shared
from .decoder import gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing
from .qwen2 import Qwen2, Qwen2Config
from .qwen3 import Qwen3, Qwen3Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3MoEConfig(Qwen3Config):
    mixes: ClassVar[bool] = True

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled, (fields, windows) = cls._keys(keys), _hf_parts(Qwen3Config, keys)
        return cls(**fields, windows=windows, mixture=hf_mixture(spelled, fields["layers"]))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Whether shares are normalised a GGUF does not say: those of Qwen3 are."""
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled))
        return cls(**fields, windows=(None,) * fields["layers"], mixture=mixture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen2MoEConfig(Qwen2Config):
    mixes: ClassVar[bool] = True

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled, (fields, windows) = cls._keys(keys), _hf_parts(Qwen2Config, keys)
        shared = spelled.count("shared_expert_intermediate_size", most=WIDEST)
        return cls(**fields, windows=windows, mixture=hf_mixture(spelled, fields["layers"], shared))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Those of Qwen2 are not normalised."""
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        shared = spelled.count("expert_shared_feed_forward_length", fields["intermediate"], most=WIDEST)
        routing = gguf_routing(spelled, normalised=False)
        mixture = Mixture(routing=routing, intermediate=gguf_expert_width(spelled), shared=shared)
        return cls(**fields, windows=(None,) * fields["layers"], mixture=mixture)


def _hf_parts(dense: type[Qwen2Config], keys: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int | None, ...]]:
    """What the family without experts reads: its fields, and the windows of its layers."""
    return dense._hf_fields(dense._keys(keys)), dense.from_hf(keys).windows


def hf_mixture(keys: Keys, layers: int, shared: int | None = None, *, normalised: bool = False) -> Mixture:
    """`normalised`: whether shares are, where the file does not say."""
    step = keys.integer("decoder_sparse_step", 1, low=1, high=MOST_LAYERS)
    named = keys.values.get("mlp_only_layers") or []
    if not isinstance(named, list) or not all(type(layer) is int for layer in named):
        raise keys.error("mlp_only_layers", "it is not a list of layers")
    dense = frozenset(layer for layer in range(layers) if layer in named or (layer + 1) % step)
    routing = hf_routing(keys, normalised=keys.flag("norm_topk_prob", normalised))
    width = keys.count("moe_intermediate_size", most=WIDEST)
    return Mixture(routing=routing, intermediate=width, shared=shared, dense=dense)


class Qwen3MoE(Mixing, Qwen3):
    Config: ClassVar[type[ModelConfig]] = Qwen3MoEConfig


class Qwen2MoE(Mixing, Qwen2):
    Config: ClassVar[type[ModelConfig]] = Qwen2MoEConfig

    @classmethod
    def shared_of(cls, home: Checkpoint, config: Any, mixture: Mixture) -> Shared | None:
        width = mixture.shared or mixture.intermediate
        return Shared.load(home / "shared_expert", config.hidden, width, home / "shared_expert_gate")

"""Granite 4: Granite's mixtures, most of whose layers are Mamba-2's; in the others nothing turns unless the file says
so. Models without experts have the shared one alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import nn

from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.mamba2 import Mamba2Mixer, Mamba2Sizes
from .decoder import gguf_keys
from .granite import GraniteConfig
from .granite_moe import GraniteMoE, shared_mlp
from .hybrid import Hybrid, gguf_attending, hf_attending, hf_mixer_names
from .mamba2 import sizes_from_gguf, sizes_from_hf
from .mixture import Mixture, gguf_expert_width, gguf_routing, hf_routing

_TURNING = {"rope": "rope", "nope": "nope"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GraniteHybridConfig(GraniteConfig):
    """None in `mixture`: no experts but the shared one, of `intermediate` numbers."""

    mixes: ClassVar[bool] = True

    attending: frozenset[int]
    sizes: Mamba2Sizes
    mixture: Mixture | None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        shared = spelled.count("shared_intermediate_size", 1024, most=WIDEST)
        mixture = None
        if spelled.integer("num_local_experts", 8, low=0, high=WIDEST):
            mixture = Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"], shared=shared)
        if spelled.word("position_embedding_type", _TURNING, "nope") == "nope":
            fields["rope"] = None
        fields["intermediate"] = shared
        attending = hf_attending(spelled, fields["layers"])
        sizes = sizes_from_hf(spelled, fields["hidden"], fields["eps"])
        return cls(**fields, attending=attending, sizes=sizes, mixture=mixture)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        spelled, attending = gguf_attending(spelled, spelled.count("block_count", most=MOST_LAYERS))
        fields = cls._gguf_fields(spelled)
        if not spelled.flag("rope.scaling.finetuned", True):
            fields["rope"] = None
        sizes = sizes_from_gguf(spelled, fields["hidden"], fields["eps"])
        return cls(**fields, attending=attending, sizes=sizes, mixture=_gguf_mixture(spelled))


def _gguf_mixture(keys: Keys) -> Mixture | None:
    if not keys.integer("expert_count", 0, low=0, high=WIDEST):
        return None
    shared = keys.integer("expert_shared_feed_forward_length", 0, low=0, high=WIDEST) or None
    return Mixture(routing=gguf_routing(keys), intermediate=gguf_expert_width(keys), shared=shared)


class GraniteHybrid(Hybrid, GraniteMoE):
    Config: ClassVar[type[ModelConfig]] = GraniteHybridConfig
    hf_names: ClassVar[Names] = hf_mixer_names("mamba")

    @classmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        return Mamba2Mixer(place, config.sizes)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        if place.in_gguf:
            return super().mlp(place, config)
        block = replace(place, path=place.path.removesuffix(".mlp"))
        return shared_mlp(block / "shared_mlp", config.hidden, config.intermediate)

"""Granite's mixtures, with or without an expert that every token takes: Granite's constants, and stacked experts under
names of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..config import WIDEST, ModelConfig
from ..parts.checkpoint import Checkpoint
from ..parts.linear import Linear
from ..parts.mlp import GatedMLP
from ..parts.moe import Experts, MoE, Router, Shared
from ..parts.split import Split
from .decoder import gguf_keys
from .granite import Granite, GraniteConfig
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing


@dataclass(frozen=True, slots=True, kw_only=True)
class GraniteMoEConfig(GraniteConfig):
    mixes: ClassVar[bool] = True

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        shared = spelled.integer("shared_intermediate_size", 0, low=0, high=WIDEST) or None
        mixture = Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"], shared=shared)
        return cls(**fields, mixture=mixture)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        shared = spelled.integer("expert_shared_feed_forward_length", 0, low=0, high=WIDEST) or None
        mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled), shared=shared)
        return cls(**cls._gguf_fields(spelled), mixture=mixture)


class GraniteMoE(Mixing, Granite):
    Config: ClassVar[type[ModelConfig]] = GraniteMoEConfig
    homes: ClassVar[tuple[str, ...]] = ("block_sparse_moe",)
    routers: ClassVar[tuple[str, ...]] = ("router.layer", "router")

    @classmethod
    def moe(cls, place: Checkpoint, config: Any, mixture: Mixture) -> MoE:
        home, at = cls.home_of(place)
        names = ("input_linear.weight", "output_linear.weight")
        if (home / "experts.gate_up_proj").exists():
            names = ("experts.gate_up_proj", "experts.down_proj")
        experts = Experts.load(
            home / "experts",
            mixture.routing.experts,
            config.hidden,
            mixture.intermediate,
            both=home / names[0],
            down=home / names[1],
        )
        router = Router.load(at, mixture.routing, config.hidden)
        return MoE.of(home, router, experts, _shared(place, config, mixture.shared))


def _shared(place: Checkpoint, config: Any, width: int | None) -> Shared | None:
    if width is None:
        return None
    if place.in_gguf:
        return Shared.load(place / "mlp" / "shared_expert", config.hidden, width)
    return Shared(shared_mlp(place / "shared_mlp", config.hidden, width))


def shared_mlp(place: Checkpoint, hidden: int, width: int) -> GatedMLP:
    both, down = place / "input_linear", place / "output_linear"
    split = Split("rows", (down / "weight").grain())
    gate_up = Linear.load_stacked(both, hidden, (width, width), split)
    out = Linear.load((down,), width, (hidden,), Split("columns", split.unit))
    return GatedMLP(gate_up, out, place.place.kernels)

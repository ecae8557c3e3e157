"""What decoders with experts have in common: how files spell a mixture, and how a layer of one is loaded.

Alone it is no architecture. A family states where its files have the router and the experts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from torch import nn

from .. import ops
from ..config import MOST_LAYERS, WIDEST, Keys
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Curve, Experts, MoE, Router, Routing, Shared
from .decoder import Decoder

MOST_EXPERTS: Final = 1 << 14
STRONGEST: Final = 1e4  # what shares are times
_SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts")
}
_SIGMOID: Final = 2  # GGUF's word for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The experts of a model: `intermediate` numbers each, `shared` in the one that every token takes. `dense` layers
    have none.
    """

    routing: Routing
    intermediate: int
    shared: int | None = None
    dense: frozenset[int] = frozenset()


def hf_routing(keys: Keys, **more: Any) -> Routing:
    """How many experts, and how many a token chooses; the rest as a family says."""
    keys = replace(keys, spellings={**_SPELLINGS, **keys.spellings})
    experts = keys.count("num_experts", most=MOST_EXPERTS)
    choices = keys.count("num_experts_per_tok", 2, most=MOST_EXPERTS)
    return _checked(keys, Routing(experts=experts, choices=choices, **more), "num_experts_per_tok", "num_experts")


def gguf_routing(keys: Keys, **more: Any) -> Routing:
    experts = keys.count("expert_count", most=MOST_EXPERTS)
    choices = keys.count("expert_used_count", most=MOST_EXPERTS)
    return _checked(keys, Routing(experts=experts, choices=choices, **more), "expert_used_count", "expert_count")


def _checked(keys: Keys, routing: Routing, chosen: str, every: str) -> Routing:
    if routing.choices > routing.experts:
        raise keys.error(chosen, f"{routing.choices} are more than {keys.prefix}{every}, {routing.experts}")
    if routing.experts % routing.groups or routing.experts // routing.groups < routing.best_of_group:
        raise keys.error(every, f"{routing.experts} experts do not make {routing.groups} groups")
    if routing.choices > routing.experts // routing.groups * routing.kept:
        raise keys.error(chosen, f"{routing.choices} are more than {routing.kept} groups hold")
    return routing


def gguf_score(keys: Keys) -> str:
    return "sigmoid" if keys.integer("expert_gating_func", 1, low=0, high=4) == _SIGMOID else "softmax"


def gguf_expert_width(keys: Keys) -> int:
    """Of each expert; of a dense layer, where the file has no other."""
    name = "expert_feed_forward_length"
    return keys.count(name if keys.has(name) else "feed_forward_length", most=WIDEST)


def first_dense(keys: Keys, name: str) -> frozenset[int]:
    """The layers before the first with experts."""
    return frozenset(range(keys.integer(name, 0, low=0, high=MOST_LAYERS)))


class Mixing(Decoder):
    """Feed-forward layers are experts, but for the dense ones.

    `homes` are where a file may have them in a block: as published, then as transformers 5 writes it. The router is one
    of `routers` there, `experts` are the names of gate, up and down.
    """

    homes: ClassVar[tuple[str, ...]] = ("mlp",)
    routers: ClassVar[tuple[str, ...]] = ("gate",)
    experts: ClassVar[tuple[str, str, str]] = ("gate_proj", "up_proj", "down_proj")
    shared: ClassVar[str] = "shared_experts"
    curve: ClassVar[Callable[..., Any]] = staticmethod(ops.silu_mul)

    @classmethod
    def feed_forward(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:
        mixture: Mixture | None = config.mixture
        if mixture is None or layer in mixture.dense:
            return super().feed_forward(place, config, layer)
        return cls.moe(place, config, mixture)

    @classmethod
    def moe(cls, place: Checkpoint, config: Any, mixture: Mixture) -> MoE:
        home, router = cls.home_of(place)
        experts = Experts.load(
            home / "experts", mixture.routing.experts, config.hidden, mixture.intermediate, cls.experts, cls.curve
        )
        return MoE.of(
            home, cls.router_of(place, router, config, mixture), experts, cls.shared_of(home, config, mixture)
        )

    @classmethod
    def home_of(cls, place: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
        """The place of the experts and their router, and that of the router itself."""
        if place.in_gguf:
            return place / "mlp", place / "mlp" / "gate"
        found = [(place / home, place / home / router) for home in cls.homes for router in cls.routers]
        return next((pair for pair in found if (pair[1] / "weight").exists()), found[0])

    @classmethod
    def router_of(cls, place: Checkpoint, router: Checkpoint, config: Any, mixture: Mixture) -> Router:
        correction = place / "exp_probs_b" / "bias" if place.in_gguf else None
        return Router.load(router, mixture.routing, config.hidden, correction=correction)

    @classmethod
    def shared_of(cls, home: Checkpoint, config: Any, mixture: Mixture) -> Shared | None:
        if mixture.shared is None:
            return None
        return Shared.load(home / ("shared_expert" if home.in_gguf else cls.shared), config.hidden, mixture.shared)


__all__ = [
    "Curve",
    "Mixing",
    "Mixture",
    "first_dense",
    "gguf_expert_width",
    "gguf_routing",
    "gguf_score",
    "hf_routing",
]

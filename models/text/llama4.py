"""Llama 4's text models: Llama whose turning layers see the tokens of their own chunk, with normed queries and keys;
every fourth layer does not turn and sees everything, far tokens asking more sharply. Experts take their share of what
goes in, not of what comes out, beside one that every token takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor, nn

from .. import ops
from ..config import LONGEST, MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..contract import AttentionSpec
from ..names import Names
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Experts, MoE, share_of
from ..parts.rope import RopeConfig
from .decoder import BESIDE, LARGEST, WITHIN, DecoderConfig, attention_spec, gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing

_CHUNK: Final = 8192
_STILL: Final = 4  # one layer of so many does not turn
_UNNORMED: Final = 128  # experts of the one model whose queries and keys are not normed


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama4Config(DecoderConfig):
    """`turning` says of each layer whether its queries and keys turn; others' queries are multiplied by
    1 + `sharpness` * log(1 + whole multiples of `trained` up to there).
    """

    mixes: ClassVar[bool] = True
    interleaved: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "intermediate_size": ("intermediate_size_mlp",),
        "num_experts": ("num_local_experts",),
    }

    mixture: Mixture
    turning: tuple[bool, ...]
    chunk: int | None
    normed: bool
    sharpness: float = 0.1
    trained: int = _CHUNK

    def turn(self, layer: int) -> RopeConfig | None:
        return self.rope if self.turning[layer] else None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        layers = fields["layers"]
        return cls(
            **fields,
            mixture=_hf_mixture(spelled, layers),
            turning=_turning(spelled, layers),
            chunk=spelled.window("attention_chunk_size", _CHUNK),
            normed=spelled.flag("use_qk_norm", True),
            sharpness=spelled.number("attn_scale", 0.1, low=0.0, high=LARGEST) if _tuned(spelled) else 0.0,
            trained=spelled.count("floor_scale", _CHUNK, most=LONGEST),
        )

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """What a file has no key for is the same in all models."""
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        width = gguf_expert_width(spelled)
        routing = gguf_routing(spelled, score="sigmoid", normalised=False)
        step = spelled.count("interleave_moe_layer_step", most=MOST_LAYERS)
        dense = frozenset(layer for layer in range(fields["layers"]) if (layer + 1) % step)
        return cls(
            **fields,
            mixture=Mixture(routing=routing, intermediate=width, shared=width, dense=dense),
            turning=tuple((layer + 1) % _STILL != 0 for layer in range(fields["layers"])),
            chunk=_CHUNK,
            normed=routing.experts != _UNNORMED,
        )


def _tuned(keys: Keys) -> bool:
    """Some files have a number there."""
    said = keys.values.get("attn_temperature_tuning", True)
    if not isinstance(said, int):
        raise keys.error("attn_temperature_tuning", "it is not true or false")
    return bool(said)


def _turning(keys: Keys, layers: int) -> tuple[bool, ...]:
    if keys.values.get("no_rope_layers"):
        return tuple(bool(turns) for turns in keys.numbers("no_rope_layers", layers, low=0, high=1))
    every = keys.count("no_rope_layer_interval", _STILL, most=MOST_LAYERS)
    return tuple((layer + 1) % every != 0 for layer in range(layers))


def _hf_mixture(keys: Keys, layers: int) -> Mixture:
    own = replace(keys, spellings={})
    width = own.count("intermediate_size", most=WIDEST)
    step = keys.count("interleave_moe_layer_step", 1, most=MOST_LAYERS)
    mixed = keys.values.get("moe_layers") or list(range(step - 1, layers, step))
    if not isinstance(mixed, list) or not all(type(layer) is int for layer in mixed):
        raise keys.error("moe_layers", "it is not a list of layers")
    routing = hf_routing(keys, score="sigmoid", normalised=False)
    return Mixture(routing=routing, intermediate=width, shared=width, dense=frozenset(range(layers)) - set(mixed))


class SharedInputs(nn.Module):
    """Experts whose inputs are times their shares, and whose results are added up as they are."""

    def __init__(self, experts: Experts) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, x: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
        rows = (x[:, None] * shares[..., None]).to(x.dtype).flatten(0, 1)
        out: Tensor = self.experts(rows, chosen.view(-1, 1), torch.ones_like(shares).view(-1, 1))
        return out.view(*chosen.shape, -1).sum(1)


class Llama4(Mixing):
    Config: ClassVar[type[ModelConfig]] = Llama4Config
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            **{f"mlp.{each}_proj": f"feed_forward.{each}_proj" for each in ("gate", "up", "down")},
        },
    )
    within: ClassVar[tuple[tuple[str, str], ...]] = WITHIN
    beside: ClassVar[tuple[str, ...]] = BESIDE
    homes: ClassVar[tuple[str, ...]] = ("feed_forward",)
    routers: ClassVar[tuple[str, ...]] = ("router",)
    shared: ClassVar[str] = "shared_expert"

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return replace(attention_spec(config, layer), chunk=config.chunk if config.turning[layer] else None)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        """A norm before the turn is one behind it: what turns keeps its length."""
        turns, bias = config.turning[layer], config.attention_bias
        sharpened = partial(_sharpened, sharpness=config.sharpness, trained=config.trained)
        attention = Attention.load(
            place,
            config.hidden,
            config.heads,
            cls.spec(config, layer),
            qkv_bias=bias,
            out_bias=bias,
            sharpened=None if turns or not config.sharpness else sharpened,
        )
        if turns and config.normed:
            norm = ops.Norm(torch.ones(config.heads.dim, device=place.place.device), config.eps)
            attention.q_norm = attention.k_norm = norm
        return attention

    @classmethod
    def moe(cls, place: Checkpoint, config: Any, mixture: Mixture) -> MoE:
        home, router = cls.home_of(place)
        at, count, width = home / "experts", mixture.routing.experts, mixture.intermediate
        if place.in_gguf:
            experts = Experts.load(at, count, config.hidden, width)
        else:
            experts = _hf_experts(at, count, config.hidden, width)
        shared = cls.shared_of(home, config, mixture)
        return MoE.of(home, cls.router_of(place, router, config, mixture), SharedInputs(experts), shared)


def _hf_experts(place: Checkpoint, count: int, hidden: int, width: int) -> Experts:
    """Stored [experts, in, out], gate beside up."""
    down = place / "down_proj"
    start, stop = share_of(width, down) or (0, width)
    both = _turned(place / "gate_up_proj", (count, hidden, 2 * width))
    sides = [both[:, first + start : first + stop] for first in (0, width)]
    out = _turned(down, (count, width, hidden))[..., start:stop]
    return Experts(
        [place.settled(side.contiguous()) for side in sides],
        place.settled(out.contiguous()),
        ops.silu_mul,
        kernels=place.place.kernels,
    )


def _turned(place: Checkpoint, shape: tuple[int, int, int]) -> Tensor:
    found = place.as_stored().matrix(shape)
    dense = found if isinstance(found, Tensor) else found.dequantize(place.place.dtype)
    return dense.transpose(1, 2)


def _sharpened(positions: Tensor, sharpness: float, trained: int) -> Tensor:
    return 1 + sharpness * torch.log1p(torch.floor((positions.float() + 1) / trained))

"""RecurrentGemma: Gemma, two of whose three layers carry a number for each channel from token to token, by gates of
each token (arXiv 2402.19427), and whose others attend within a window.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import LONGEST, WIDEST, Keys, ModelConfig, divides
from ..contract import AttentionSpec, Batch, Placement, StateLayer, StateTensor, StateView, Weight
from ..names import Names
from ..parts.activation import ACTIVATIONS
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS, ShortConvolution
from ..parts.linear import Linear
from ..parts.mlp import GatedMLP
from ..parts.vocabulary import Embedding, Head
from .decoder import LARGEST, attention_spec
from .gemma import Gemma, GemmaConfig
from .hybrid import Hybrid

_STEEPNESS: Final = 8.0  # of how fast a channel may forget
_KINDS: Final = {"recurrent": "carries", "attention": "attends"}
_TEMPORAL: Final = ("linear_x", "linear_y", "linear_out", "conv_1d", "rg_lru")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentGemmaConfig(GemmaConfig):
    """`width` of what is carried, in `blocks` each of which makes its own gates."""

    default_head_dim: ClassVar[int | None] = None
    rotary_share: ClassVar[float] = 0.5

    attending: frozenset[int]
    width: int
    blocks: int
    taps: int
    sees: int
    logit_softcap: float

    def window(self, layer: int) -> int | None:
        return self.sees

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        width = spelled.count("lru_width", fields["hidden"], most=WIDEST)
        divides(spelled, ("lru_width", width), ("num_attention_heads", fields["heads"].queries))
        return cls(
            **fields,
            attending=_attending(spelled, fields["layers"]),
            width=width,
            blocks=fields["heads"].queries,
            taps=spelled.integer("conv1d_width", 4, low=2, high=MOST_TAPS),
            sees=spelled.count("attention_window_size", 2048, most=LONGEST),
            logit_softcap=spelled.number("logits_soft_cap", 30.0, low=1e-3, high=LARGEST),
        )

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        """The file states that of gate and up together."""
        return keys.count("intermediate_size", most=WIDEST) // 2


def _attending(keys: Keys, layers: int) -> frozenset[int]:
    """The kinds of blocks begin again when all were."""
    said = keys.values.get("block_types") or ["recurrent", "recurrent", "attention"]
    length = len(said) if isinstance(said, list) else 0
    kinds = Keys({"block_types": said}).words("block_types", _KINDS, length)
    if not kinds:
        raise keys.error("block_types", "it is empty")
    return frozenset(layer for layer in range(layers) if kinds[layer % length] == "attends")


class GatedRecurrence(nn.Module):
    """What takes attention's place. Every rank computes all of it."""

    def __init__(self, place: Checkpoint, config: RecurrentGemmaConfig) -> None:
        super().__init__()
        wide, blocks, self.activation = config.width, config.blocks, config.activation
        self.kernels = place.place.kernels
        both, each = (place / "linear_x", place / "linear_y"), wide // blocks
        self.enter = Linear.load(both, config.hidden, (wide, wide), bias=True)
        self.conv = ShortConvolution.load(place / "conv_1d", wide, config.taps, bias=True, silu=False)
        gates = place / "rg_lru"
        self.pace = -_STEEPNESS * F.softplus((gates / "recurrent_param").vector(wide))
        names = ("input_gate", "recurrent_gate")
        self.gates = torch.stack([(gates / f"{name}_weight").numbers(blocks, each, each) for name in names])
        self.biases = torch.stack([(gates / f"{name}_bias").numbers(blocks, each) for name in names])
        self.leave = Linear.load((place / "linear_out",), wide, (config.hidden,), bias=True)

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        inner, gate = self.enter(x).chunk(2, -1)
        inner = self.conv(inner, batch, cache)
        blocks = inner.view(len(x), self.gates.shape[1], -1).transpose(0, 1)
        gates = torch.sigmoid(blocks @ self.gates + self.biases[:, :, None]).transpose(1, 2).flatten(2)
        slowness = gates[1] * self.pace
        kept = slowness.exp()
        # Of what comes in as much is taken as is forgotten; a sequence's first token is taken whole.
        first = (batch.positions == 0)[:, None]
        share = torch.where(first, 1.0, (-torch.expm1(2 * slowness)).sqrt())
        out = ops.gated_scan(
            kept, inner * gates[0] * share, name="state", cache=cache, batch=batch, kernels=self.kernels
        )
        done: Tensor = self.leave((out * ACTIVATIONS[self.activation](gate.float())).to(x.dtype), onto)
        return done

    def cache_layer(self) -> StateLayer:
        return StateLayer({"inputs": self.conv.state(), "state": StateTensor((len(self.pace),))})

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.pace, self.gates, self.biases)


class RecurrentGemma(Hybrid, Gemma):
    Config: ClassVar[type[ModelConfig]] = RecurrentGemmaConfig
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            "model.norm": "model.final_norm",
            "input_layernorm": "temporal_pre_norm",
            "post_attention_layernorm": "channel_pre_norm",
            **{f"self_attn.{each}_proj": f"temporal_block.{each}_proj" for each in "qkvo"},
            **{f"mlp.{each}_proj": f"mlp_block.{each}_proj" for each in ("gate", "up", "down")},
            **{f"mixer.{each}": f"temporal_block.{each}" for each in _TEMPORAL},
        },
    )

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:  # noqa: ARG003
        """As bfloat16 holds it, whatever activations are."""
        return float(torch.tensor(config.hidden**0.5, dtype=torch.bfloat16))

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return attention_spec(config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec, bias = cls.spec(config, layer), config.attention_bias
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=True)

    @classmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedRecurrence(place, config)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedMLP.load(place, config.hidden, config.intermediate, True, config.activation)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, softcap=config.logit_softcap)

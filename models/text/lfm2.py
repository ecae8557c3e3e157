"""LFM2: most layers mix a token with the few before it by a gated convolution, the others attend. Its mixtures find
experts by sigmoid, with a bias for the choice, in all but the first layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from .. import ops
from ..config import MOST_LAYERS, WIDEST, Keys, ModelConfig
from ..contract import Batch, StateLayer, StateView
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS, ShortConvolution
from ..parts.linear import Linear
from ..parts.moe import Router
from ..parts.rope import RopeConfig
from ..rope_keys import rope_of_section
from .decoder import DecoderConfig, gguf_keys
from .hybrid import Hybrid, gguf_attending, hf_attending
from .mixture import STRONGEST, Mixing, Mixture, first_dense, gguf_expert_width, gguf_routing, hf_routing

_THETA: Final = 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LFM2Config(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    default_tied: ClassVar[bool | None] = True
    default_eps: ClassVar[float | None] = 1e-5
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rms_norm_eps": ("norm_eps",),
        "intermediate_size": ("block_ff_dim", "intermediate_size"),
        "tie_word_embeddings": ("tie_embedding", "tie_word_embeddings"),
    }

    attending: frozenset[int]
    taps: int
    conv_bias: bool
    mixture: Mixture | None = None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        return cls(
            **fields,
            attending=_attending(spelled, fields["layers"]),
            taps=spelled.integer("conv_L_cache", 3, low=2, high=MOST_TAPS),
            conv_bias=spelled.flag("conv_bias", False),
            mixture=cls._hf_mixture(spelled),
        )

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        spelled, attending = gguf_attending(spelled, spelled.count("block_count", most=MOST_LAYERS))
        taps = spelled.integer("shortconv.l_cache", low=2, high=MOST_TAPS)
        mixture = cls._gguf_mixture(spelled)
        return cls(**cls._gguf_fields(spelled), attending=attending, taps=taps, conv_bias=False, mixture=mixture)

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        section = keys.section("rope_scaling") or keys.section("rope_parameters") or Keys({}, "rope_parameters.")
        return rope_of_section(section, keys, head_dim, _THETA)

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        """Two thirds of what is said, times a factor, in whole multiples; unless it is meant as said."""
        width = keys.count("intermediate_size", most=WIDEST)
        if not keys.flag("block_auto_adjust_ff_dim", True):
            return width
        width = int(keys.number("block_ffn_dim_multiplier", 1.0, low=1e-3, high=1e3) * int(2 * width / 3))
        unit = keys.count("block_multiple_of", 256, most=WIDEST)
        return -(-width // unit) * unit

    @classmethod
    def _hf_mixture(cls, keys: Keys) -> Mixture | None:  # noqa: ARG003
        return None

    @classmethod
    def _gguf_mixture(cls, keys: Keys) -> Mixture | None:  # noqa: ARG003
        return None


def _attending(keys: Keys, layers: int) -> frozenset[int]:
    if keys.has("layer_types"):
        return hf_attending(keys, layers)
    said = keys.values.get("full_attn_idxs")
    if not isinstance(said, list) or not all(type(layer) is int for layer in said):
        raise keys.error("layer_types", "it is missing, and full_attn_idxs is no list of layers")
    return frozenset(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class LFM2MoEConfig(LFM2Config):
    mixes: ClassVar[bool] = True

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        return keys.count("intermediate_size", most=WIDEST)

    @classmethod
    def _hf_mixture(cls, keys: Keys) -> Mixture | None:
        routing = hf_routing(
            keys,
            score="sigmoid",
            corrected=keys.flag("use_expert_bias", True),
            normalised=keys.flag("norm_topk_prob", True),
            scale=keys.number("routed_scaling_factor", 1.0, low=0.0, high=STRONGEST),
        )
        width = keys.count("moe_intermediate_size", most=WIDEST)
        return Mixture(routing=routing, intermediate=width, dense=first_dense(keys, "num_dense_layers"))

    @classmethod
    def _gguf_mixture(cls, keys: Keys) -> Mixture | None:
        routing = gguf_routing(keys, score="sigmoid", corrected=True)
        dense = first_dense(keys, "leading_dense_block_count")
        return Mixture(routing=routing, intermediate=gguf_expert_width(keys), dense=dense)


class GatedConvolution(nn.Module):
    """What takes attention's place: gate * convolution(gate * x), each from a projection. Whole on every rank."""

    def __init__(self, place: Checkpoint, hidden: int, taps: int, bias: bool) -> None:
        super().__init__()
        self.enter = Linear.load((place / "in_proj",), hidden, (3 * hidden,), bias=bias)
        self.conv = ShortConvolution.load(place / "conv", hidden, taps, bias=bias, silu=False)
        self.leave = Linear.load((place / "out_proj",), hidden, (hidden,), bias=bias)

    def forward(
        self, x: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: StateView, onto: Tensor | None = None
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        before, after, inner = self.enter(x).chunk(3, -1)
        mixed = self.conv(before.float() * inner.float(), batch, cache)
        done: Tensor = self.leave((after.float() * mixed).to(x.dtype), onto)
        return done

    def cache_layer(self) -> StateLayer:
        return StateLayer({"inputs": self.conv.state()})


class LFM2(Mixing, Hybrid):
    Config: ClassVar[type[ModelConfig]] = LFM2Config
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            "model.norm": "model.embedding_norm",
            "input_layernorm": "operator_norm",
            "post_attention_layernorm": "ffn_norm",
            "self_attn.o_proj": "self_attn.out_proj",
            "self_attn.q_norm": "self_attn.q_layernorm",
            "self_attn.k_norm": "self_attn.k_layernorm",
            "mlp.gate_proj": "feed_forward.w1",
            "mlp.up_proj": "feed_forward.w3",
            "mlp.down_proj": "feed_forward.w2",
            "mixer.in_proj": "conv.in_proj",
            "mixer.conv": "conv.conv",
            "mixer.out_proj": "conv.out_proj",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but(
        {
            "model.norm": "token_embd_norm",
            "mixer.in_proj": "shortconv.in_proj",
            "mixer.conv": "shortconv.conv",
            "mixer.out_proj": "shortconv.out_proj",
        }
    )
    homes: ClassVar[tuple[str, ...]] = ("feed_forward",)
    experts: ClassVar[tuple[str, str, str]] = ("w1", "w3", "w2")

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, norm_eps=config.eps)

    @classmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedConvolution(place, config.hidden, config.taps, config.conv_bias)

    @classmethod
    def router_of(cls, place: Checkpoint, router: Checkpoint, config: Any, mixture: Mixture) -> Router:
        at = place / "exp_probs_b" / "bias" if place.in_gguf else place / "feed_forward" / "expert_bias"
        return Router.load(router, mixture.routing, config.hidden, correction=at)


class LFM2MoE(LFM2):
    Config: ClassVar[type[ModelConfig]] = LFM2MoEConfig

"""GPT-2, StarCoder (GPTBigCode), GPT-Neo, GPT-J, CodeGen and OPT; the shared ground of all that came from GPT-2.

Layer norms with biases, a plain feed-forward layer that bends by GELU, and positions that are learned, if they do not
turn as GPT-J's do. OPT's smallest large model norms after it adds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from torch import nn

from ..config import LONGEST, WIDEST, Keys, ModelConfig, divides
from ..contract import AttentionSpec, Part, WeightLoader
from ..errors import SplitError
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads
from ..parts.block import PostNormBlock
from ..parts.checkpoint import Checkpoint
from ..parts.linear import Linear
from ..parts.mlp import MLP
from ..parts.norm import LayerNorm
from ..parts.rope import RopeConfig
from ..parts.scaling import Unscaled
from ..parts.split import Split
from ..parts.vocabulary import Embedding, Entrance, Head
from .decoder import AnyBlock, Decoder, DecoderConfig, WindowedConfig

CURVES: Final = {
    name: name for name in ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "silu")
}
SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "hidden_size": ("n_embd", "hidden_size"),
    "num_hidden_layers": ("n_layer", "num_hidden_layers"),
    "num_attention_heads": ("n_head", "num_attention_heads"),
    "max_position_embeddings": ("n_positions", "n_ctx"),
    "intermediate_size": ("n_inner", "intermediate_size"),
    "hidden_act": ("activation_function",),
    "rms_norm_eps": ("layer_norm_epsilon",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig(DecoderConfig):
    """A feed-forward layer is four times as wide as the rest, unless it is said otherwise."""

    gguf_interleaved: ClassVar[bool] = False
    rotary: ClassVar[bool] = False
    default_bias: ClassVar[bool] = True
    default_tied: ClassVar[bool | None] = True
    default_eps: ClassVar[float | None] = 1e-5
    activations: ClassVar[Mapping[str, str]] = CURVES
    default_activation: ClassVar[str] = "gelu_new"
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = SPELLINGS

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        """As many answer as ask."""
        heads = keys.count("num_attention_heads", most=WIDEST)
        divides(keys, ("hidden_size", hidden), ("num_attention_heads", heads))
        return Heads(heads, heads, hidden // heads)

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        return keys.count("intermediate_size", 4 * keys.count("hidden_size", most=WIDEST), most=WIDEST)


class GPT(Decoder):
    """What families from GPT-2 on share. `prefix` begins the names of some files, and is left out in others."""

    Config: ClassVar[type[ModelConfig]] = GPTConfig
    prefix: ClassVar[str] = "transformer."
    ignored: ClassVar[tuple[str, ...]] = ("inv_freq", ".attn.bias", ".masked_bias", ".attention.bias")
    norm_bias: ClassVar[bool | None] = True

    @classmethod
    def names(cls, weights: WeightLoader) -> Callable[[str], str]:
        if weights.metadata.format == "gguf":
            return cls.gguf_names
        if any(name.startswith(cls.prefix) for name in weights.tensor_names()):
            return cls.hf_names
        return lambda name: cls.hf_names(name).removeprefix(cls.prefix)

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps, bias=cls.norm_bias)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return MLP.load(place, config.hidden, config.intermediate, config.activation, config.mlp_bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class GPT2Config(GPTConfig):
    """Scores are divided by the root of a head's width unless `scaled` is false, and by the layer's number if so."""

    scaled: bool = True
    by_layer: bool = False

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GPT2Config, cls)._hf_fields(keys)
        return {
            **fields,
            "scaled": keys.flag("scale_attn_weights", True),
            "by_layer": keys.flag("scale_attn_by_inverse_layer_idx", False),
        }


class GPT2(GPT):
    """Matrices within layers are stored [in, out]."""

    Config: ClassVar[type[ModelConfig]] = GPT2Config
    hf_names: ClassVar[Names] = Names(
        "transformer.h",
        {
            "model.embed_tokens": "transformer.wte",
            "model.embed_positions": "transformer.wpe",
            "model.norm": "transformer.ln_f",
            "input_layernorm": "ln_1",
            "self_attn.qkv_proj": "attn.c_attn",
            "self_attn.o_proj": "attn.c_proj",
            "post_attention_layernorm": "ln_2",
            "mlp.up_proj": "mlp.c_fc",
            "mlp.down_proj": "mlp.c_proj",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but({"model.embed_positions": "position_embd"})
    turned: ClassVar[bool] = True

    @classmethod
    def entrance_of(cls, trunk: Checkpoint, config: Any) -> Entrance:
        embed = Embedding.load(trunk / "embed_tokens", config.vocabulary, config.hidden)
        return Entrance(embed, Embedding.load(trunk / "embed_positions", config.context, config.hidden))

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return super().block(replace(place, turned=cls.turned and not place.in_gguf), config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=True, out_bias=True, order="stacked")

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        scale = config.heads.dim**-0.5 if config.scaled else 1.0
        return AttentionSpec(scale / (layer + 1) if config.by_layer else scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class StarCoderConfig(GPT2Config):
    """All queries ask one head."""

    default_activation: ClassVar[str] = "gelu_pytorch_tanh"

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        heads = super(StarCoderConfig, cls)._hf_heads(keys, hidden)
        if not keys.flag("multi_query", True):
            raise keys.error("multi_query", "models with a key for each query cannot be computed")
        return replace(heads, keys=1)


class StarCoder(GPT2):
    Config: ClassVar[type[ModelConfig]] = StarCoderConfig
    turned: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTNeoConfig(WindowedConfig, GPTConfig):
    """`attention_types` says how often which kinds of layers come in turn."""

    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SPELLINGS,
        "num_hidden_layers": ("num_layers",),
        "num_attention_heads": ("num_heads",),
        "max_position_embeddings": ("max_position_embeddings",),
        "intermediate_size": ("intermediate_size",),
    }

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(GPTNeoConfig, cls)._hf_fields(keys)
        window = keys.count("window_size", 256, most=LONGEST)
        return {**fields, "windows": _neo_windows(keys, fields["layers"], window)}


def _neo_windows(keys: Keys, layers: int, window: int) -> tuple[int | None, ...]:
    """Of [[["global", "local"], 12]] twelve times the two, in turn."""
    windows: list[int | None] = []
    stated = keys.values.get("attention_types") or [[["global", "local"], -(-layers // 2)]]
    try:
        for kinds, times in stated:
            windows += [{"global": None, "local": window}[kind] for kind in kinds] * min(int(times), layers)
    except (TypeError, ValueError, KeyError):
        raise keys.error("attention_types", "it is not lists of global and local, and how often they come") from None
    if len(windows) < layers:
        raise keys.error("attention_types", f"it has {len(windows)} entries where {layers} belong")
    return tuple(windows[:layers])


class GPTNeo(GPT2):
    """Every second layer sees a window, and scores are not divided by anything."""

    Config: ClassVar[type[ModelConfig]] = GPTNeoConfig
    turned: ClassVar[bool] = False
    ignored: ClassVar[tuple[str, ...]] = ("attn.attention.bias", ".masked_bias")
    hf_names: ClassVar[Names] = GPT2.hf_names.but(
        {
            "self_attn.q_proj": "attn.attention.q_proj",
            "self_attn.k_proj": "attn.attention.k_proj",
            "self_attn.v_proj": "attn.attention.v_proj",
            "self_attn.o_proj": "attn.attention.out_proj",
        }
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        return Attention.load(place, config.hidden, config.heads, cls.spec(config, layer), out_bias=True)

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return AttentionSpec(1.0, config.window(layer))


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTJConfig(GPTConfig):
    rotary: ClassVar[bool] = True
    interleaved: ClassVar[bool] = True
    default_tied: ClassVar[bool | None] = False

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        dim = keys.count("rotary_dim", head_dim, most=head_dim)
        if dim % 2:
            raise keys.error("rotary_dim", f"{dim} is odd")
        return RopeConfig(10_000.0, dim, Unscaled(), interleaved=True)


class GPTJ(GPT):
    """Attention and feed-forward side by side on one norm; the head has a bias."""

    Config: ClassVar[type[ModelConfig]] = GPTJConfig
    hf_names: ClassVar[Names] = Names(
        "transformer.h",
        {
            "model.embed_tokens": "transformer.wte",
            "model.norm": "transformer.ln_f",
            "input_layernorm": "ln_1",
            "self_attn.q_proj": "attn.q_proj",
            "self_attn.k_proj": "attn.k_proj",
            "self_attn.v_proj": "attn.v_proj",
            "self_attn.o_proj": "attn.out_proj",
            "mlp.up_proj": "mlp.fc_in",
            "mlp.down_proj": "mlp.fc_out",
        },
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return cls.side_by_side(place, config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        return Attention.load(place, config.hidden, config.heads, cls.spec(config, layer))

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, bias=True)


class CodeGen(GPTJ):
    """GPT-J, but queries, values and keys are stored together, in four parts, for as many devices of its authors."""

    hf_names: ClassVar[Names] = GPTJ.hf_names.but({"self_attn.qkv_proj": "attn.qkv_proj"})
    ignored: ClassVar[tuple[str, ...]] = (".attn.causal_mask", *GPT.ignored)
    parts: ClassVar[int] = 4

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        heads, kernels = config.heads, place.place.kernels
        if heads.queries % cls.parts:
            raise SplitError(place.path, cls.parts, f"it has {heads.queries} heads")
        whole, one = heads.sizes[0], heads.sizes[0] // cls.parts
        mine = Split("rows").part(cls.parts, place.place, place.path) or Part(0, 0, cls.parts)
        firsts = [(3 * part + which) * one for which in (0, 2, 1) for part in range(mine.start, mine.stop)]
        stored = place / "qkv_proj" / "weight"
        weights = [stored.matrix((3 * whole, config.hidden), Part(0, first, first + one)) for first in firsts]
        out = Linear.load((place / "o_proj",), whole, (config.hidden,), Split("columns", one))
        qkv = Linear(weights, [None] * len(weights), None, kernels)
        count = len(weights) // 3 * one // heads.dim
        counts = (count, count, count)
        return Attention(qkv, out, heads.dim, cls.spec(config, layer), kernels=kernels, counts=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class OPTConfig(GPTConfig):
    """`width` is that of embeddings, which may be less than the model's; `before`: norms come before what they feed."""

    default_activation: ClassVar[str] = "relu"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "intermediate_size": ("ffn_dim",),
        "hidden_act": ("activation_function",),
        "attention_bias": ("enable_bias",),
        "mlp_bias": ("enable_bias",),
    }

    width: int
    before: bool

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(OPTConfig, cls)._hf_fields(keys)
        return {
            **fields,
            "width": keys.count("word_embed_proj_dim", fields["hidden"], most=WIDEST),
            "before": keys.flag("do_layer_norm_before", True),
        }

    @classmethod
    def _hf_eps(cls, keys: Keys) -> float:  # noqa: ARG003
        """No file says it."""
        return 1e-5


class OPT(GPT):
    """The first position is in the third row of what is learned for them."""

    Config: ClassVar[type[ModelConfig]] = OPTConfig
    prefix: ClassVar[str] = "model."
    hf_names: ClassVar[Names] = Names(
        "model.decoder.layers",
        {
            "model.embed_tokens": "model.decoder.embed_tokens",
            "model.embed_positions": "model.decoder.embed_positions",
            "model.project_in": "model.decoder.project_in",
            "model.norm": "model.decoder.final_layer_norm",
            "model.norm.project_out": "model.decoder.project_out",
            "input_layernorm": "self_attn_layer_norm",
            "self_attn.o_proj": "self_attn.out_proj",
            "post_attention_layernorm": "final_layer_norm",
            "mlp.up_proj": "fc1",
            "mlp.down_proj": "fc2",
        },
    )

    @classmethod
    def entrance_of(cls, trunk: Checkpoint, config: Any) -> Entrance:
        embed = Embedding.load(trunk / "embed_tokens", config.vocabulary, config.width)
        learned = Embedding.load(trunk / "embed_positions", config.context + 2, config.hidden)
        wider = config.width != config.hidden
        project = Linear.load((trunk / "project_in",), config.width, (config.hidden,)) if wider else None
        return Entrance(embed, learned, 2, project=project)

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        if config.before:
            return super().block(place, config, layer)
        return PostNormBlock(
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "input_layernorm", config),
            cls.feed_forward(place, config, layer),
            cls.norm_of(place / "post_attention_layernorm", config),
        )

    @classmethod
    def last_norm(cls, place: Checkpoint, config: Any) -> nn.Module:
        norm = cls.norm_of(place, config) if config.before else nn.Identity()
        if config.width == config.hidden:
            return norm
        return nn.Sequential(norm, Linear.load((place / "project_out",), config.hidden, (config.width,)))

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.width, config.tied)

"""What text decoders have in common: a config of sizes, a stack of blocks, and the names of its tensors.

Alone it is no architecture. A family states what it changes: constants of its config, a method for the part that it
builds otherwise, stems of names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from ..config import LONGEST, MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, divides, of_text, refuse_quantized
from ..contract import AttentionSpec, Batch, Placement, WeightLoader
from ..names import Names, gguf_name
from ..parts.attention import Attention, Heads
from ..parts.block import Block, ParallelBlock, PostNormBlock
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import GatedMLP
from ..parts.norm import RMSNorm
from ..parts.rope import Rope, RopeConfig
from ..parts.vocabulary import Embedding, Entrance, Head
from ..rope_keys import rope_from_gguf, rope_from_hf
from .writer import Writer

AnyBlock = Block | ParallelBlock | PostNormBlock

SILU: Final[Mapping[str, str]] = {"silu": "silu", "swish": "silu"}
LAYER_TYPES: Final[Mapping[str, str]] = {"full_attention": "full", "sliding_attention": "sliding"}
LARGEST: Final = 1e6  # of numbers that scores and states are multiplied by

# In files that see images too: what names begin with instead, and those of tensors that are not of the text model.
WITHIN: Final = (("", "language_model."), ("model.", "model.language_model."))
BESIDE: Final = tuple(
    f"{home}{part}."
    for home in ("", "model.")
    for part in ("vision_model", "vision_tower", "visual", "multi_modal_projector")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig(ModelConfig):
    """None in `tied` and the biases: a GGUF does not say, whatever tensors it has count. None in `rope`: nothing turns.

    What a family's files leave out or spell otherwise, it says in the constants.
    """

    gguf_interleaved: ClassVar[bool] = True
    mixes: ClassVar[bool] = False  # whether its layers may be experts
    interleaved: ClassVar[bool] = False
    rotary: ClassVar[bool] = True
    rotary_share: ClassVar[float] = 1.0
    default_head_dim: ClassVar[int | None] = None
    default_tied: ClassVar[bool | None] = False
    default_bias: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = None
    activations: ClassVar[Mapping[str, str]] = SILU
    default_activation: ClassVar[str] = "silu"
    gguf_eps: ClassVar[str] = "attention.layer_norm_rms_epsilon"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    hidden: int
    intermediate: int
    layers: int
    heads: Heads
    eps: float
    rope: RopeConfig | None
    tied: bool | None
    attention_bias: bool | None
    mlp_bias: bool | None
    activation: str = "silu"

    def window(self, layer: int) -> int | None:
        """How many tokens the attention of `layer` sees; None: all."""
        return None

    def turn(self, layer: int) -> RopeConfig | None:
        """How queries and keys of `layer` turn; None: not at all."""
        return self.rope

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._hf_fields(cls._keys(keys)))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._gguf_fields(gguf_keys(keys)))

    @classmethod
    def _keys(cls, keys: Mapping[str, Any]) -> Keys:
        return Keys(of_text(keys), spellings=cls.spellings)

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        refuse_quantized(keys)
        hidden = keys.count("hidden_size", most=WIDEST)
        heads = cls._hf_heads(keys, hidden)
        return {
            "context": keys.count("max_position_embeddings", 2048, most=LONGEST),
            "vocabulary": keys.count("vocab_size", most=MOST_TOKENS),
            "hidden": hidden,
            "intermediate": cls._hf_intermediate(keys),
            "layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
            "heads": heads,
            "eps": cls._hf_eps(keys),
            "rope": cls._hf_rope(keys, heads.dim) if cls.rotary else None,
            "tied": cls._hf_tied(keys),
            "attention_bias": keys.flag("attention_bias", cls.default_bias),
            "mlp_bias": keys.flag("mlp_bias", cls.default_bias),
            "activation": keys.word("hidden_act", cls.activations, cls.default_activation),
        }

    @classmethod
    def _hf_heads(cls, keys: Keys, hidden: int) -> Heads:
        return heads_from_hf(keys, hidden, cls.default_head_dim)

    @classmethod
    def _hf_intermediate(cls, keys: Keys) -> int:
        return keys.count("intermediate_size", most=WIDEST)

    @classmethod
    def _hf_eps(cls, keys: Keys) -> float:
        if cls.default_eps is None:
            return keys.number("rms_norm_eps", low=0.0, high=1.0)
        return keys.number("rms_norm_eps", cls.default_eps, low=0.0, high=1.0)

    @classmethod
    def _hf_tied(cls, keys: Keys) -> bool | None:
        if cls.default_tied is None and not keys.has("tie_word_embeddings"):
            return None
        return keys.flag("tie_word_embeddings", bool(cls.default_tied))

    @classmethod
    def _hf_rope(cls, keys: Keys, head_dim: int) -> RopeConfig:
        return rope_from_hf(keys, head_dim, interleaved=cls.interleaved, share=cls.rotary_share)

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        if not cls.mixes:
            keys.integer("expert_count", 0, low=0, high=0)
        hidden = keys.count("embedding_length", most=WIDEST)
        layers = keys.count("block_count", most=MOST_LAYERS)
        heads = _gguf_heads(keys, hidden, layers)
        return {
            "context": keys.count("context_length", most=LONGEST),
            "vocabulary": keys.integer("vocab_size", None, high=MOST_TOKENS),
            "hidden": hidden,
            "intermediate": keys.uniform("feed_forward_length", most=WIDEST, layers=layers),
            "layers": layers,
            "heads": heads,
            "eps": keys.number(cls.gguf_eps, low=0.0, high=1.0),
            "rope": rope_from_gguf(keys, heads.dim, interleaved=cls.gguf_interleaved) if cls.rotary else None,
            "tied": None,
            "attention_bias": None,
            "mlp_bias": None,
            "activation": cls.default_activation,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowedConfig(DecoderConfig):
    """Some layers see a window only: `windows` has an entry a layer."""

    windows: tuple[int | None, ...]

    def window(self, layer: int) -> int | None:
        return self.windows[layer]


def layer_windows(keys: Keys, layers: int, window: int | None, full: Callable[[int], bool]) -> tuple[int | None, ...]:
    """The window of each layer: as `layer_types` names it, or all but those that are `full`."""
    if not keys.has("layer_types"):
        return tuple(None if full(layer) else window for layer in range(layers))
    kinds = keys.words("layer_types", LAYER_TYPES, layers)
    if window is None and "sliding" in kinds:
        raise keys.error("layer_types", "it has sliding layers, but sliding_window is null")
    return tuple(window if kind == "sliding" else None for kind in kinds)


def gguf_keys(keys: Mapping[str, Any]) -> Keys:
    """The key-values under the file's own architecture."""
    architecture = keys.get("general.architecture")
    return Keys(keys, f"{architecture}." if isinstance(architecture, str) else "llama.")


def heads_from_hf(keys: Keys, hidden: int, default_dim: int | None) -> Heads:
    queries = keys.count("num_attention_heads", most=WIDEST)
    answering = keys.count("num_key_value_heads", queries, most=WIDEST)
    divides(keys, ("num_attention_heads", queries), ("num_key_value_heads", answering))
    if default_dim is None and not keys.has("head_dim"):
        divides(keys, ("hidden_size", hidden), ("num_attention_heads", queries))
        default_dim = hidden // queries
    return _checked(keys, Heads(queries, answering, keys.count("head_dim", default_dim or 1, most=WIDEST)), "head_dim")


def _gguf_heads(keys: Keys, hidden: int, layers: int) -> Heads:
    queries = keys.uniform("attention.head_count", most=WIDEST, layers=layers)
    answering = queries
    if keys.has("attention.head_count_kv"):
        answering = keys.uniform("attention.head_count_kv", most=WIDEST, layers=layers)
    divides(keys, ("attention.head_count", queries), ("attention.head_count_kv", answering))
    if not keys.has("attention.key_length"):
        divides(keys, ("embedding_length", hidden), ("attention.head_count", queries))
    dim = keys.count("attention.key_length", hidden // queries, most=WIDEST)
    if keys.count("attention.value_length", dim, most=WIDEST) != dim:
        raise keys.error("attention.value_length", f"it is not attention.key_length, {dim}")
    return _checked(keys, Heads(queries, answering, dim), "attention.key_length")


def _checked(keys: Keys, heads: Heads, key: str) -> Heads:
    if heads.dim % 2 or heads.queries * heads.dim > WIDEST:
        raise keys.error(key, f"{heads.queries} heads of {heads.dim} numbers cannot be")
    return heads


class Decoder(Writer):
    """Embeddings, blocks, a norm, scores. The methods from `names` on are what families change."""

    Config: ClassVar[type[ModelConfig]] = DecoderConfig
    hf_names: ClassVar[Names] = Names("model.layers")
    gguf_names: ClassVar[Names] = gguf_name
    ignored: ClassVar[tuple[str, ...]] = ("rotary_emb.inv_freq",)
    within: ClassVar[tuple[tuple[str, str], ...]] = ()  # what names begin with, and with what in some files
    beside: ClassVar[tuple[str, ...]] = ()  # what the names of tensors begin with that are not of the text model

    config: Any

    def __init__(
        self,
        config: Any,
        place: Placement,
        entrance: Entrance,
        blocks: list[AnyBlock],
        norm: nn.Module,
        head: Head,
        ropes: Mapping[RopeConfig, Rope],
    ) -> None:
        super().__init__()
        self.config, self.place, self.entrance = config, place, entrance
        self.blocks, self.norm, self.head = nn.ModuleList(blocks), norm, head
        self.ropes, kinds = nn.ModuleList(ropes.values()), list(ropes)
        turns = (config.turn(layer) for layer in range(config.layers))
        self.turns = [None if turn is None else kinds.index(turn) for turn in turns]

    def forward(self, batch: Batch) -> Tensor:
        rotations = [rope(batch.positions) for rope in self.ropes]
        hidden: Tensor = self.entrance(batch)
        for block, turn, cache in zip(self.blocks, self.turns, self.views(batch), strict=True):
            hidden = block(hidden, None if turn is None else rotations[turn], batch, cache)
        out: Tensor = self.norm(hidden)
        return out

    def views(self, batch: Batch) -> Sequence[Any]:
        """What each block sees of the cache."""
        return batch.cache

    @classmethod
    def load(cls, weights: WeightLoader, config: Any, place: Placement) -> Self:
        root = Checkpoint(weights, place, cls.names(weights))
        trunk = root / "model"
        entrance = cls.entrance_of(trunk, config)
        blocks = [cls.block(trunk / "layers" / layer, config, layer) for layer in range(config.layers)]
        norm = cls.last_norm(trunk / "norm", config)
        head = cls.head_of(root / "lm_head", entrance.embed, config)
        turns = dict.fromkeys(config.turn(layer) for layer in range(config.layers))
        ropes = {turn: Rope.load(root, turn) for turn in turns if turn is not None}
        spare = root.rename("lm_head.weight")
        root.finish(lambda name: cls.is_spare(name, config) or (head.tied and name == spare))
        return cls(replace(config, vocabulary=entrance.embed.vocabulary), place, entrance, blocks, norm, head, ropes)

    @classmethod
    def is_spare(cls, name: str, config: Any) -> bool:  # noqa: ARG003
        """Whether a file may have a tensor that nothing here computes with."""
        return name.endswith(cls.ignored) or name.startswith(cls.beside)

    @classmethod
    def names(cls, weights: WeightLoader) -> Callable[[str], str]:
        if weights.metadata.format == "gguf":
            return cls.gguf_names
        moved = (cls.hf_names.moved(*each) for each in cls.within)
        return next((names for names in moved if weights.has_tensor(names("model.embed_tokens.weight"))), cls.hf_names)

    @classmethod
    def entrance_of(cls, trunk: Checkpoint, config: Any) -> Entrance:
        scale = cls.embedding_scale(config, trunk.place)
        return Entrance(Embedding.load(trunk / "embed_tokens", config.vocabulary, config.hidden, scale))

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:  # noqa: ARG003
        """What embeddings are multiplied by."""
        return 1.0

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return Block(
            cls.norm_of(place / "input_layernorm", config),
            cls.mixer(place, config, layer),
            cls.norm_of(place / "post_attention_layernorm", config),
            cls.feed_forward(place, config, layer),
        )

    @classmethod
    def side_by_side(
        cls, place: Checkpoint, config: Any, layer: int, mlp_norm: nn.Module | None = None
    ) -> ParallelBlock:
        """A block whose branches read the same states, on one norm unless the second has its own."""
        return ParallelBlock(
            cls.norm_of(place / "input_layernorm", config),
            cls.attention(place / "self_attn", config, layer),
            mlp_norm,
            cls.feed_forward(place, config, layer),
        )

    @classmethod
    def feed_forward(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:  # noqa: ARG003
        """Of the block at `place`."""
        return cls.mlp(place / "mlp", config)

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return RMSNorm.load(place, config.hidden, config.eps)

    @classmethod
    def last_norm(cls, place: Checkpoint, config: Any) -> nn.Module:
        return cls.norm_of(place, config)

    @classmethod
    def mixer(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:
        """What lets the tokens of the block at `place` know of each other."""
        return cls.attention(place / "self_attn", config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias)

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        return attention_spec(config, layer)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        return GatedMLP.load(place, config.hidden, config.intermediate, config.mlp_bias, config.activation)

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied)


def attention_spec(config: DecoderConfig, layer: int) -> AttentionSpec:
    return AttentionSpec(scale=config.heads.dim**-0.5, window=config.window(layer))

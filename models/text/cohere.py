"""Command R and R+, and Command R7B (Cohere 2): attention and feed-forward side by side on one layer norm without bias.

Command R+ norms each head's query and key, with weights of its own; in Cohere 2 three of four layers see a window, and
only these turn.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..config import LONGEST, MOST_LAYERS, Keys, ModelConfig
from ..parts.attention import Attention, Norms
from ..parts.checkpoint import Checkpoint
from ..parts.norm import HeadsNorm, LayerNorm
from ..parts.rope import RopeConfig
from ..parts.vocabulary import Embedding, Head
from .decoder import LARGEST, AnyBlock, Decoder, DecoderConfig, layer_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereConfig(DecoderConfig):
    """None in `normed`: a GGUF does not say whether queries and keys are, its tensors do."""

    interleaved: ClassVar[bool] = True
    default_tied: ClassVar[bool | None] = True
    default_eps: ClassVar[float | None] = 1e-5
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[dict[str, tuple[str, ...]]] = {"rms_norm_eps": ("layer_norm_eps",)}

    logit_scale: float
    normed: bool | None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(CohereConfig, cls)._hf_fields(keys)
        scale = keys.number("logit_scale", 0.0625, low=1e-6, high=LARGEST)
        return {**fields, "logit_scale": scale, "normed": keys.flag("use_qk_norm", False)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(CohereConfig, cls)._gguf_fields(keys)
        return {**fields, "logit_scale": keys.number("logit_scale", low=1e-6, high=LARGEST), "normed": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohere2Config(CohereConfig):
    windows: tuple[int | None, ...]

    def window(self, layer: int) -> int | None:
        return self.windows[layer]

    def turn(self, layer: int) -> RopeConfig | None:
        return None if self.windows[layer] is None else self.rope

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Cohere2Config, cls)._hf_fields(keys)
        every = keys.count("sliding_window_pattern", 4, most=MOST_LAYERS)
        window = keys.window("sliding_window", absent=4096)
        full = layer_windows(keys, fields["layers"], window, lambda layer: (layer + 1) % every == 0)
        return {**fields, "windows": full}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Cohere2Config, cls)._gguf_fields(keys)
        window = keys.integer("attention.sliding_window", high=LONGEST)
        return {**fields, "windows": tuple(None if i % 4 == 3 else window for i in range(fields["layers"]))}


class Cohere(Decoder):
    Config: ClassVar[type[ModelConfig]] = CohereConfig

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps, bias=False)

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> AnyBlock:
        return cls.side_by_side(place, config, layer)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        bias, spec = config.attention_bias, cls.spec(config, layer)
        norms = cls.norms(place, config)
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias, norms=norms)

    @classmethod
    def norms(cls, place: Checkpoint, config: Any) -> Norms | None:
        normed = (place / "q_norm" / "weight").exists() if config.normed is None else config.normed
        if not normed:
            return None
        heads = config.heads
        return (
            HeadsNorm.load(place / "q_norm", heads.queries, heads.dim, config.eps),
            HeadsNorm.load(place / "k_norm", heads.keys, heads.dim, config.eps),
        )

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, scale=config.logit_scale)


class Cohere2(Cohere):
    Config: ClassVar[type[ModelConfig]] = Cohere2Config

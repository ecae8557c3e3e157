"""Mamba, and Falcon Mamba, which norms what its steps are made of: no attention, a state of fixed size a layer.

A block projects to an inner width, mixes each channel with its last inputs, and carries a state from token to token
that forgets at a pace which each token sets (arXiv 2312.00752).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from ..config import LONGEST, MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, refuse_quantized
from ..contract import Batch, Placement, StateView, WeightLoader
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS
from ..parts.mamba import MambaMixer, MambaSizes
from ..parts.norm import RMSNorm
from ..parts.vocabulary import Embedding, Head
from .writer import Writer

UNBOUNDED: Final = 1 << 20  # a state has no length; this is as far as a context may go


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaConfig(ModelConfig):
    """`step_rank` is the width from which a token's steps are projected; `mixed_eps` that of Falcon's norms, if any.
    None in `tied` and `bias`: a GGUF does not say, whatever tensors it has count.
    """

    hidden: int
    inner: int
    state: int
    taps: int
    step_rank: int
    layers: int
    eps: float
    tied: bool | None
    bias: bool | None
    conv_bias: bool
    mixed_eps: float | None = None

    @property
    def sizes(self) -> MambaSizes:
        return MambaSizes(
            hidden=self.hidden,
            inner=self.inner,
            state=self.state,
            taps=self.taps,
            step_rank=self.step_rank,
            bias=self.bias,
            conv_bias=self.conv_bias,
            mixed_eps=self.mixed_eps,
        )

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._hf_fields(Keys(keys)))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """One name for both: a key says whether steps are normed, with the eps of all norms."""
        own = Keys(keys, "mamba.")
        eps = own.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0)
        return cls(
            context=own.count("context_length", most=LONGEST),
            vocabulary=own.integer("vocab_size", None, high=MOST_TOKENS),
            hidden=own.count("embedding_length", most=WIDEST),
            inner=own.count("ssm.inner_size", most=WIDEST),
            state=own.count("ssm.state_size", most=WIDEST),
            taps=own.integer("ssm.conv_kernel", low=2, high=MOST_TAPS),
            step_rank=own.count("ssm.time_step_rank", most=WIDEST),
            layers=own.count("block_count", most=MOST_LAYERS),
            eps=eps,
            tied=None,
            bias=None,
            conv_bias=True,
            mixed_eps=eps if own.flag("ssm.dt_b_c_rms", False) else None,
        )

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        refuse_quantized(keys)
        keys.word("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")
        hidden = keys.count("hidden_size", most=WIDEST)
        inner = keys.count("intermediate_size", keys.count("expand", 2, most=64) * hidden, most=WIDEST)
        return {
            "context": UNBOUNDED,
            "vocabulary": keys.count("vocab_size", most=MOST_TOKENS),
            "hidden": hidden,
            "inner": inner,
            "state": keys.count("state_size", 16, most=WIDEST),
            "taps": keys.integer("conv_kernel", 4, low=2, high=MOST_TAPS),
            "step_rank": step_rank(keys, "time_step_rank", hidden),
            "layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
            "eps": keys.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
            "tied": keys.flag("tie_word_embeddings", True),
            "bias": keys.flag("use_bias", False),
            "conv_bias": keys.flag("use_conv_bias", True),
        }


def step_rank(keys: Keys, name: str, hidden: int) -> int:
    automatic = keys.values.get(name, "auto") == "auto"
    return -(-hidden // 16) if automatic else keys.count(name, most=WIDEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class FalconMambaConfig(MambaConfig):
    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        eps = keys.number("mixer_rms_eps", 1e-6, low=0.0, high=1.0)
        return {**MambaConfig._hf_fields(keys), "mixed_eps": eps}


class Block(nn.Module):
    def __init__(self, norm: RMSNorm, mixer: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer = norm, mixer

    def forward(self, hidden: Tensor, batch: Batch, cache: StateView) -> Tensor:
        out: Tensor = self.mixer(self.norm(hidden), None, batch, cache, hidden)
        return out


# What files of layers with a state call their tensors, in any family.
MIXER_STEMS: Final[Mapping[str, str]] = {
    "mixer.in_proj": "ssm_in",
    "mixer.conv1d": "ssm_conv1d",
    "mixer.x_proj": "ssm_x",
    "mixer.dt_proj": "ssm_dt",
    "mixer.out_proj": "ssm_out",
    "mixer.norm": "ssm_norm",
    "mixer.dt_layernorm": "ssm_dt_norm",
    "mixer.b_layernorm": "ssm_b_norm",
    "mixer.c_layernorm": "ssm_c_norm",
}
MIXER_TENSORS: Final[Mapping[str, str]] = {
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.dt_bias": "ssm_dt.bias",
}


class Mamba(Writer):
    Config: ClassVar[type[ModelConfig]] = MambaConfig
    gguf_names: ClassVar[Names] = Names(
        "blk",
        {
            "model.embeddings": "token_embd",
            "model.norm_f": "output_norm",
            "lm_head": "output",
            "norm": "attn_norm",
            **MIXER_STEMS,
        },
        MIXER_TENSORS,
    )

    config: Any

    def __init__(
        self, config: Any, place: Placement, embed: Embedding, blocks: list[Block], norm: RMSNorm, head: Head
    ) -> None:
        super().__init__()
        self.config, self.place = config, place
        self.embed, self.blocks, self.norm, self.head = embed, nn.ModuleList(blocks), norm, head

    def forward(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.embed(batch.ids)
        for block, cache in zip(self.blocks, batch.cache, strict=True):
            hidden = block(hidden, batch, cache)
        out: Tensor = self.norm(hidden)
        return out

    @classmethod
    def load(cls, weights: WeightLoader, config: Any, place: Placement) -> Self:
        root = Checkpoint(weights, place, cls.names(weights))
        trunk = root / "model"
        embed = Embedding.load(trunk / "embeddings", config.vocabulary, config.hidden)
        blocks = [cls.block(trunk / "layers" / layer, config) for layer in range(config.layers)]
        norm = RMSNorm.load(trunk / "norm_f", config.hidden, config.eps)
        head = Head.load(root / "lm_head", embed, config.hidden, config.tied)
        root.finish(lambda name: head.tied and name == "lm_head.weight")
        return cls(replace(config, vocabulary=embed.vocabulary), place, embed, blocks, norm, head)

    @classmethod
    def names(cls, weights: WeightLoader) -> Callable[[str], str]:
        return cls.gguf_names if weights.metadata.format == "gguf" else _hf_name

    @classmethod
    def block(cls, place: Checkpoint, config: Any) -> Block:
        norm = RMSNorm.load(place / "norm", config.hidden, config.eps)
        return Block(norm, cls.mixer(place / "mixer", config))

    @classmethod
    def mixer(cls, place: Checkpoint, config: Any) -> nn.Module:
        return MambaMixer(place, config.sizes)


class FalconMamba(Mamba):
    Config: ClassVar[type[ModelConfig]] = FalconMambaConfig


def _hf_name(name: str) -> str:
    return f"backbone.{name.removeprefix('model.')}" if name.startswith("model.") else name

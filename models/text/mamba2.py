"""Mamba-2: Mamba, whose heads have a matrix each for a state. Hybrids read their sizes here too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isinf
from typing import Any, ClassVar, Final, Self

from torch import nn

from ..config import LONGEST, MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, divides, refuse_quantized
from ..parts.checkpoint import Checkpoint
from ..parts.convolution import MOST_TAPS
from ..parts.mamba2 import Mamba2Mixer, Mamba2Sizes
from .mamba import UNBOUNDED, Mamba

_LONGEST_STEP: Final = 1e6
_SPELLINGS: Final = {
    "mamba_n_heads": ("num_heads",),
    "mamba_d_head": ("head_dim",),
    "mamba_n_groups": ("n_groups",),
    "mamba_d_state": ("state_size",),
    "mamba_d_conv": ("conv_kernel",),
    "mamba_expand": ("expand",),
    "mamba_proj_bias": ("use_bias",),
    "mamba_conv_bias": ("use_conv_bias",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2Config(ModelConfig):
    hidden: int
    layers: int
    eps: float
    tied: bool | None
    sizes: Mamba2Sizes

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = Keys(keys, spellings=_SPELLINGS)
        refuse_quantized(spelled)
        spelled.word("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")
        hidden = spelled.count("hidden_size", most=WIDEST)
        eps = spelled.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0)
        return cls(
            context=UNBOUNDED,
            vocabulary=spelled.count("vocab_size", most=MOST_TOKENS),
            hidden=hidden,
            layers=spelled.count("num_hidden_layers", most=MOST_LAYERS),
            eps=eps,
            tied=spelled.flag("tie_word_embeddings", False),
            sizes=sizes_from_hf(spelled, hidden, eps),
        )

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        own = Keys(keys, "mamba2.")
        hidden = own.count("embedding_length", most=WIDEST)
        eps = own.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0)
        return cls(
            context=own.count("context_length", most=LONGEST),
            vocabulary=own.integer("vocab_size", None, high=MOST_TOKENS),
            hidden=hidden,
            layers=own.count("block_count", most=MOST_LAYERS),
            eps=eps,
            tied=None,
            sizes=sizes_from_gguf(own, hidden, eps),
        )


def sizes_from_hf(keys: Keys, hidden: int, eps: float) -> Mamba2Sizes:
    heads = keys.count("mamba_n_heads", most=WIDEST)
    inner = keys.count("mamba_d_ssm", keys.count("mamba_expand", 2, most=64) * hidden, most=WIDEST)
    divides(keys, ("mamba_d_ssm", inner), ("mamba_n_heads", heads))
    stated = keys.values.get("mamba_d_head") != "auto"
    if stated and keys.count("mamba_d_head", inner // heads, most=inner) != inner // heads:
        raise keys.error("mamba_d_head", f"{heads} heads of it are not {inner} numbers")
    groups = keys.count("mamba_n_groups", 1, most=heads)
    divides(keys, ("mamba_n_heads", heads), ("mamba_n_groups", groups))
    bias = keys.flag("mamba_proj_bias", False)
    shortest, longest = _limits(keys)
    return Mamba2Sizes(
        hidden=hidden,
        heads=heads,
        head=inner // heads,
        groups=groups,
        state=keys.count("mamba_d_state", most=WIDEST),
        taps=keys.integer("mamba_d_conv", 4, low=2, high=MOST_TAPS),
        bias=bias,
        out_bias=bias,
        conv_bias=keys.flag("mamba_conv_bias", True),
        eps=eps,
        shortest=shortest,
        longest=longest,
    )


def sizes_from_gguf(keys: Keys, hidden: int, eps: float) -> Mamba2Sizes:
    """What GGUF calls the rank of steps is the number of heads."""
    heads, inner = keys.count("ssm.time_step_rank", most=WIDEST), keys.count("ssm.inner_size", most=WIDEST)
    divides(keys, ("ssm.inner_size", inner), ("ssm.time_step_rank", heads))
    groups = keys.count("ssm.group_count", 1, most=heads)
    divides(keys, ("ssm.time_step_rank", heads), ("ssm.group_count", groups))
    return Mamba2Sizes(
        hidden=hidden,
        heads=heads,
        head=inner // heads,
        groups=groups,
        state=keys.count("ssm.state_size", most=WIDEST),
        taps=keys.integer("ssm.conv_kernel", low=2, high=MOST_TAPS),
        bias=None,
        conv_bias=None,
        eps=eps,
    )


def _limits(keys: Keys) -> tuple[float, float | None]:
    """Of a token's steps. No upper one is written as infinity, in one of several ways."""
    said = keys.values.get("time_step_limit")
    if not isinstance(said, list | tuple) or len(said) != 2:
        return 0.0, None
    endless = isinstance(said[1], Mapping | str) or (isinstance(said[1], float) and isinf(said[1]))
    limits = replace(keys, values={"time_step_limit": [said[0], _LONGEST_STEP if endless else said[1]]})
    shortest, longest = limits.numbers("time_step_limit", 2, low=0.0, high=_LONGEST_STEP)
    return shortest, None if endless else longest


class Mamba2(Mamba):
    Config: ClassVar[type[ModelConfig]] = Mamba2Config

    @classmethod
    def mixer(cls, place: Checkpoint, config: Any) -> nn.Module:
        return Mamba2Mixer(place, config.sizes)

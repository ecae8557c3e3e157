"""Mamba, and Falcon Mamba, which norms what its steps are made of: no attention, a state of fixed size a layer.

A block projects to an inner width, mixes each channel with its last inputs, and carries a state from token to token
that forgets at a pace which each token sets (arXiv 2312.00752).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import LONGEST, MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, refuse_quantized
from ..contract import Batch, CacheSpec, Model, Placement, StateLayer, StateTensor, StateView, Weight, WeightLoader
from ..parts.checkpoint import Checkpoint
from ..parts.linear import Linear
from ..parts.norm import RMSNorm
from ..parts.vocabulary import Embedding, Head

UNBOUNDED: Final = 1 << 20  # a state has no length; this is as far as a context may go
MOST_TAPS: Final = 64


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
        automatic = keys.values.get("time_step_rank", "auto") == "auto"
        return {
            "context": UNBOUNDED,
            "vocabulary": keys.count("vocab_size", most=MOST_TOKENS),
            "hidden": hidden,
            "inner": inner,
            "state": keys.count("state_size", 16, most=WIDEST),
            "taps": keys.integer("conv_kernel", 4, low=2, high=MOST_TAPS),
            "step_rank": -(-hidden // 16) if automatic else keys.count("time_step_rank", most=WIDEST),
            "layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
            "eps": keys.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
            "tied": keys.flag("tie_word_embeddings", True),
            "bias": keys.flag("use_bias", False),
            "conv_bias": keys.flag("use_conv_bias", True),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FalconMambaConfig(MambaConfig):
    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        eps = keys.number("mixer_rms_eps", 1e-6, low=0.0, high=1.0)
        return {**MambaConfig._hf_fields(keys), "mixed_eps": eps}


class Mixer(nn.Module):
    """What takes attention's place."""

    def __init__(self, place: Checkpoint, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        wide, narrow = config.inner, [config.step_rank, config.state, config.state]
        self.enter = Linear.load((place / "in_proj",), config.hidden, (2 * wide,), bias=config.bias)
        self.taps = _taps(place / "conv1d" / "weight", config)
        self.taps_bias = (place / "conv1d" / "bias").vector(wide) if config.conv_bias else None
        self.choose = Linear.load((place / "x_proj",), wide, (sum(narrow),))
        self.step = Linear.load((place / "dt_proj",), config.step_rank, (wide,), bias=True)
        self.decay = _decay(place / "A_log", config)
        self.through = (place / "D").vector(wide)
        self.leave = Linear.load((place / "out_proj",), wide, (config.hidden,), bias=config.bias)
        self.narrow = narrow
        self.norms = None if config.mixed_eps is None else _norms(narrow, config.mixed_eps, place.place)

    def forward(self, x: Tensor, batch: Batch, cache: StateView, onto: Tensor) -> Tensor:
        """Added to `onto`, which may be overwritten."""
        mixed, gate = self.enter(x).chunk(2, -1)
        mixed = ops.causal_conv(mixed.float(), self.taps, self.taps_bias, name="inputs", cache=cache, batch=batch)
        steps, b, c = torch.split_with_sizes(self.choose(mixed.to(x.dtype)), self.narrow, -1)
        if self.norms is not None:
            steps, b, c = (ops.rms_norm(part, norm) for part, norm in zip((steps, b, c), self.norms, strict=True))
        paces = F.softplus(self.step(steps).float())
        out = ops.selective_scan(mixed, paces, self.decay, b.float(), c.float(), name="state", cache=cache, batch=batch)
        out = (out + self.through * mixed) * F.silu(gate.float())
        done: Tensor = self.leave(out.to(x.dtype), onto)
        return done

    def cache_layer(self) -> StateLayer:
        wide = self.config.inner
        return StateLayer(
            {"inputs": StateTensor((wide, self.config.taps - 1)), "state": StateTensor((wide, self.config.state))}
        )

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.taps, self.decay, self.through)
        if self.taps_bias is not None:
            yield self.taps_bias


class Block(nn.Module):
    def __init__(self, place: Checkpoint, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm.load(place / "norm", config.hidden, config.eps)
        self.mixer = Mixer(place / "mixer", config)

    def forward(self, hidden: Tensor, batch: Batch, cache: StateView) -> Tensor:
        out: Tensor = self.mixer(self.norm(hidden), batch, cache, hidden)
        return out


class Mamba(Model):
    Config: ClassVar[type[ModelConfig]] = MambaConfig

    config: MambaConfig

    def __init__(
        self, config: MambaConfig, place: Placement, embed: Embedding, blocks: list[Block], norm: RMSNorm, head: Head
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

    def logits(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.head(hidden)
        return scores

    def cache_spec(self) -> CacheSpec:
        mixers = (module for module in self.modules() if isinstance(module, Mixer))
        return CacheSpec(tuple(mixer.cache_layer() for mixer in mixers))

    @classmethod
    def load(cls, weights: WeightLoader, config: MambaConfig, place: Placement) -> Self:
        root = Checkpoint(weights, place, _gguf_name if weights.metadata.format == "gguf" else str)
        trunk = root / "backbone"
        embed = Embedding.load(trunk / "embeddings", config.vocabulary, config.hidden)
        blocks = [Block(trunk / "layers" / layer, config) for layer in range(config.layers)]
        norm = RMSNorm.load(trunk / "norm_f", config.hidden, config.eps)
        head = Head.load(root / "lm_head", embed, config.hidden, config.tied)
        root.finish(lambda name: head.tied and name == "lm_head.weight")
        return cls(replace(config, vocabulary=embed.vocabulary), place, embed, blocks, norm, head)


class FalconMamba(Mamba):
    Config: ClassVar[type[ModelConfig]] = FalconMambaConfig


def _taps(place: Checkpoint, config: MambaConfig) -> Tensor:
    """[channels, taps] fp32; Hugging Face has the convolution's single input channel between."""
    between = () if _in_gguf(place) else (1,)
    return _dense(place.matrix((config.inner, *between, config.taps)), place.place).flatten(1)


def _decay(place: Checkpoint, config: MambaConfig) -> Tensor:
    """[channels, state] fp32, below 0; Hugging Face stores the logarithm of its size."""
    stored = _dense(place.matrix((config.inner, config.state)), place.place)
    return stored if _in_gguf(place) else -stored.exp()


def _norms(sizes: Sequence[int], eps: float, place: Placement) -> list[ops.Norm]:
    """Norms without weights."""
    return [ops.Norm(torch.ones(size, device=place.device), eps) for size in sizes]


def _dense(weight: Weight, place: Placement) -> Tensor:
    """A small tensor in fp32, whatever it is stored as."""
    dense = weight if isinstance(weight, Tensor) else weight.dequantize(torch.float32)
    return dense.to(place.device, torch.float32)


def _in_gguf(place: Checkpoint) -> bool:
    return place.loader.metadata.format == "gguf"


_GGUF_NAMES: Final[Mapping[str, str]] = {
    "backbone.embeddings": "token_embd",
    "backbone.norm_f": "output_norm",
    "lm_head": "output",
    "norm": "attn_norm",
    "mixer.in_proj": "ssm_in",
    "mixer.conv1d": "ssm_conv1d",
    "mixer.x_proj": "ssm_x",
    "mixer.dt_proj": "ssm_dt",
    "mixer.out_proj": "ssm_out",
}


def _gguf_name(name: str) -> str:
    """`backbone.layers.3.mixer.A_log` -> `blk.3.ssm_a`."""
    stem, _, kind = name.rpartition(".")
    head, _, rest = stem.partition("backbone.layers.")
    if head or not rest:
        return f"{_GGUF_NAMES.get(stem, stem)}.{kind}"
    number, _, inner = rest.partition(".")
    bare = {"A_log": "ssm_a", "D": "ssm_d"}.get(kind)
    return f"blk.{number}.{bare or f'{_GGUF_NAMES.get(inner, inner)}.{kind}'}"

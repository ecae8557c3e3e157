"""RWKV-4, and what all versions of RWKV have in common: blocks that mix over time, then over channels, each token with
the one before it. Version 4 takes a mean of all values so far for each channel, whose weights fade (arXiv 2305.13048).

Files of later versions differ in how time is mixed: `rwkv6.py`, `rwkv7.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor, nn

from .. import ops
from ..config import MOST_LAYERS, MOST_TOKENS, WIDEST, Keys, ModelConfig, refuse_quantized
from ..contract import (
    Batch,
    Placement,
    StateLayer,
    StateTensor,
    StateView,
    Weight,
    WeightLoader,
)
from ..names import Names
from ..ops.cpu.kernels import Kernels
from ..parts.checkpoint import Checkpoint
from ..parts.linear import Linear
from ..parts.norm import LayerNorm
from ..parts.vocabulary import Embedding, Head
from .mamba import UNBOUNDED
from .writer import Writer

HEAD_EPS: Final = 64e-5
_LAST_EPS: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class RwkvConfig(ModelConfig):
    """`wide` is the width of what is mixed over time. Every `rescale` layers states are halved, as the weights of some
    GGUF files are, so that they stay small; 0: never.
    """

    hidden: int
    wide: int
    intermediate: int
    layers: int
    eps: float
    tied: bool | None
    rescale: int = 0

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        return cls(**cls._hf_fields(Keys(keys)))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """No GGUF of version 4 exists; later ones alike."""
        own = Keys(keys, f"{keys.get('general.architecture')}.")
        hidden = own.count("embedding_length", most=WIDEST)
        return cls(
            context=own.count("context_length", most=UNBOUNDED),
            vocabulary=own.integer("vocab_size", None, high=MOST_TOKENS),
            hidden=hidden,
            wide=hidden,
            intermediate=own.count("feed_forward_length", most=WIDEST),
            layers=own.count("block_count", most=MOST_LAYERS),
            eps=own.number("attention.layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
            tied=None,
            rescale=own.integer("rescale_every_n_layers", 0, low=0, high=MOST_LAYERS),
            **cls._gguf_more(own),
        )

    @classmethod
    def _gguf_more(cls, keys: Keys) -> dict[str, Any]:  # noqa: ARG003
        return {}

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        refuse_quantized(keys)
        hidden = keys.count("hidden_size", most=WIDEST)
        return {
            "context": UNBOUNDED,
            "vocabulary": keys.count("vocab_size", most=MOST_TOKENS),
            "hidden": hidden,
            "wide": keys.count("attention_hidden_size", hidden, most=WIDEST),
            "intermediate": keys.count("intermediate_size", cls._intermediate(hidden), most=WIDEST),
            "layers": keys.count("num_hidden_layers", most=MOST_LAYERS),
            "eps": keys.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
            "tied": keys.flag("tie_word_embeddings", False),
        }

    @staticmethod
    def _intermediate(hidden: int) -> int:
        """Where a file does not say."""
        return 4 * hidden


class TimeMix(nn.Module, ABC):
    """What of a block looks back further than one token. `values` are the first block's, for those that want them."""

    @abstractmethod
    def forward(
        self, x: Tensor, before: Tensor, batch: Batch, cache: StateView, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]: ...

    @abstractmethod
    def states(self) -> Mapping[str, StateTensor]: ...


class MeanMix(TimeMix):
    """RWKV-4's."""

    def __init__(self, place: Checkpoint, config: RwkvConfig) -> None:
        super().__init__()
        self.wide, self.kernels = config.wide, place.place.kernels
        names = ("key", "value", "receptance")
        self.shares = torch.stack([1 - mixing(place / f"time_mix_{name}", config.hidden) for name in names])
        self.key, self.value, self.receive = (projection(place / name, config.hidden, self.wide) for name in names)
        self.decay = -(place / "time_decay").vector(self.wide).exp()
        self.bonus = (place / "time_first").vector(self.wide)
        self.leave = projection(place / "output", self.wide, config.hidden)

    def forward(
        self, x: Tensor, before: Tensor, batch: Batch, cache: StateView, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        for_key, for_value, for_receiving = blended(x, before, self.shares)
        k, v = self.key(for_key).float(), self.value(for_value).float()
        mean = ops.weighted_mean(
            k, v, self.decay, self.bonus, name="mean", cache=cache, batch=batch, kernels=self.kernels
        )
        return self.leave((self.receive(for_receiving).float().sigmoid() * mean).to(x.dtype)), values

    def states(self) -> Mapping[str, StateTensor]:
        return {"mean": StateTensor((3, self.wide))}

    def own_weights(self) -> Iterator[Weight]:
        yield from (self.shares, self.decay, self.bonus)


class ChannelMix(nn.Module):
    """receptance(x) * value(relu(key(x)) squared), the first where there is one; `shares` are how much of the token
    before goes into key, and receptance.
    """

    def __init__(self, place: Checkpoint, config: RwkvConfig, shares: Tensor, *, receives: bool = True) -> None:
        super().__init__()
        self.shares = shares
        self.key = projection(place / "key", config.hidden, config.intermediate)
        self.value = projection(place / "value", config.intermediate, config.hidden)
        self.receive = projection(place / "receptance", config.hidden, config.hidden) if receives else None

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        mixed = blended(x, before, self.shares)
        out: Tensor = self.value(self.key(mixed[0]).relu().square())
        return out if self.receive is None else self.receive(mixed[1]).sigmoid() * out

    def own_weights(self) -> Iterator[Weight]:
        yield self.shares


class Block(nn.Module):
    def __init__(
        self,
        time_norm: nn.Module,
        time: TimeMix,
        channel_norm: nn.Module,
        channel: ChannelMix,
        kernels: Kernels | None,
    ) -> None:
        super().__init__()
        self.time_norm, self.time, self.channel_norm, self.channel = time_norm, time, channel_norm, channel
        self.kernels = kernels

    def forward(
        self, hidden: Tensor, batch: Batch, cache: StateView, values: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x = self.time_norm(hidden)
        before = ops.previous(x, name="time", cache=cache, batch=batch, kernels=self.kernels)
        mixed, values = self.time(x, before, batch, cache, values)
        hidden = hidden + mixed
        x = self.channel_norm(hidden)
        before = ops.previous(x, name="channel", cache=cache, batch=batch, kernels=self.kernels)
        return hidden + self.channel(x, before), values

    def cache_layer(self) -> StateLayer:
        width = StateTensor((self.channel.shares.shape[-1],))
        return StateLayer({"time": width, "channel": width, **self.time.states()})


class Rwkv(Writer):
    Config: ClassVar[type[ModelConfig]] = RwkvConfig
    hf_names: ClassVar[Names] = Names(
        "rwkv.blocks",
        {
            "model.embeddings": "rwkv.embeddings",
            "model.pre_ln": "rwkv.blocks.0.pre_ln",
            "model.ln_out": "rwkv.ln_out",
            "lm_head": "head",
        },
    )
    gguf_names: ClassVar[Names] = Names(
        "blk",
        {
            "model.embeddings": "token_embd",
            "model.pre_ln": "token_embd_norm",
            "model.ln_out": "output_norm",
            "lm_head": "output",
            "ln1": "attn_norm",
            "ln2": "attn_norm_2",
            "feed_forward.key": "channel_mix_key",
            "feed_forward.value": "channel_mix_value",
            "feed_forward.receptance": "channel_mix_receptance",
            "attention.key": "time_mix_key",
            "attention.value": "time_mix_value",
            "attention.receptance": "time_mix_receptance",
            "attention.output": "time_mix_output",
            "attention.ln_x": "time_mix_ln",
        },
    )

    config: Any

    def __init__(
        self,
        config: Any,
        place: Placement,
        embed: Embedding,
        entry_norm: nn.Module,
        blocks: list[Block],
        norm: nn.Module,
        head: Head,
    ) -> None:
        super().__init__()
        self.config, self.place, self.embed, self.entry_norm = config, place, embed, entry_norm
        self.blocks, self.norm, self.head = nn.ModuleList(blocks), norm, head

    def forward(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.entry_norm(self.embed(batch.ids))
        values: Tensor | None = None
        for layer, (block, cache) in enumerate(zip(self.blocks, batch.cache, strict=True), 1):
            hidden, values = block(hidden, batch, cache, values)
            if self.config.rescale and layer % self.config.rescale == 0:
                hidden = hidden / 2
        out: Tensor = self.norm(hidden)
        return out

    @classmethod
    def load(cls, weights: WeightLoader, config: Any, place: Placement) -> Self:
        root = Checkpoint(weights, place, cls.names(weights))
        trunk = root / "model"
        embed = Embedding.load(trunk / "embeddings", config.vocabulary, config.hidden)
        entry_norm = LayerNorm.load(trunk / "pre_ln", config.hidden, config.eps)
        blocks = [cls.block(trunk / "layers" / layer, config, layer) for layer in range(config.layers)]
        norm = LayerNorm.load(trunk / "ln_out", config.hidden, cls.last_eps(config, in_gguf=trunk.in_gguf))
        head = Head.load(root / "lm_head", embed, config.hidden, config.tied)
        spare = root.rename("lm_head.weight")
        root.finish(lambda name: cls.is_spare(name) or (head.tied and name == spare))
        return cls(replace(config, vocabulary=embed.vocabulary), place, embed, entry_norm, blocks, norm, head)

    @classmethod
    def names(cls, weights: WeightLoader) -> Callable[[str], str]:
        return cls.gguf_names if weights.metadata.format == "gguf" else cls.hf_names

    @classmethod
    def last_eps(cls, config: Any, *, in_gguf: bool) -> float:
        """Hugging Face's code takes the last norm's from nowhere."""
        return float(config.eps) if in_gguf else _LAST_EPS

    @classmethod
    def is_spare(cls, name: str) -> bool:  # noqa: ARG003
        """Whether a file may have a tensor that nothing here computes with."""
        return False

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> Block:
        return Block(
            LayerNorm.load(place / "ln1", config.hidden, config.eps),
            cls.time(place / "attention", config, layer),
            LayerNorm.load(place / "ln2", config.hidden, config.eps),
            cls.channel(place / "feed_forward", config),
            place.place.kernels,
        )

    @classmethod
    def time(cls, place: Checkpoint, config: Any, layer: int) -> TimeMix:  # noqa: ARG003
        return MeanMix(place, config)

    @classmethod
    def channel(cls, place: Checkpoint, config: Any) -> ChannelMix:
        names = ("time_mix_key", "time_mix_receptance")
        return ChannelMix(place, config, torch.stack([1 - mixing(place / name, config.hidden) for name in names]))


def projection(place: Checkpoint, columns: int, rows: int) -> Linear:
    return Linear.load((place,), columns, (rows,))


def mixing(place: Checkpoint, hidden: int) -> Tensor:
    """A share for each channel; Hugging Face has it [1, 1, hidden]."""
    shape = (hidden,) if place.in_gguf else (1, 1, hidden)
    return place.numbers(*shape).flatten()


def blended(x: Tensor, before: Tensor, shares: Tensor) -> Tensor:
    """x [tokens, hidden] with each of several shares [ways, hidden] of the token before: [ways, tokens, hidden]."""
    return x + ((before - x) * shares[:, None]).to(x.dtype)

"""Falcon H1: attention and Mamba-2's mixer side by side in every layer, on one norm; what goes into each part and comes
out of it is multiplied by constants, which a GGUF has in its weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from .. import ops
from ..config import Keys, ModelConfig
from ..contract import AttentionSpec, Batch, PagedView, Placement, StateView
from ..names import Names
from ..parts.checkpoint import Checkpoint
from ..parts.mamba2 import Mamba2Mixer, Mamba2Sizes
from ..parts.mlp import GatedMLP
from ..parts.vocabulary import Embedding, Head
from .decoder import LARGEST, Decoder, DecoderConfig, attention_spec, gguf_keys
from .hybrid import Hybrid, hf_mixer_names
from .mamba2 import sizes_from_gguf, sizes_from_hf


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Of what goes in and comes out; `ssm` are those of gates, values, keys, queries and steps."""

    embedding: float = 1.0
    head: float = 1.0
    key: float = 1.0
    attention_in: float = 1.0
    attention_out: float = 1.0
    ssm_in: float = 1.0
    ssm_out: float = 1.0
    ssm: tuple[float, ...] = (1.0,) * 5
    mlp: tuple[float, ...] = (1.0,) * 2

    @classmethod
    def from_hf(cls, keys: Keys) -> Self:
        names = ("embedding", "key", "attention_in", "attention_out", "ssm_in", "ssm_out")
        single = {name: _factor(keys, f"{name}_multiplier") for name in names}
        several = {
            name: keys.numbers(f"{name}_multipliers", length, low=-LARGEST, high=LARGEST)
            for name, length in (("ssm", 5), ("mlp", 2))
            if keys.has(f"{name}_multipliers")
        }
        return cls(**single, **several, head=_factor(keys, "lm_head_multiplier"))  # type: ignore[arg-type]


def _factor(keys: Keys, name: str) -> float:
    return keys.number(name, 1.0, low=-LARGEST, high=LARGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class FalconH1Config(DecoderConfig):
    gguf_interleaved: ClassVar[bool] = False
    default_eps: ClassVar[float | None] = 1e-5

    sizes: Mamba2Sizes
    times: Multipliers = field(default_factory=Multipliers)

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        sizes = sizes_from_hf(spelled, fields["hidden"], fields["eps"])
        sizes = replace(sizes, norms=_norms(spelled), out_bias=spelled.flag("projectors_bias", False))
        return cls(**fields, sizes=sizes, times=Multipliers.from_hf(spelled))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        fields = cls._gguf_fields(spelled)
        return cls(**fields, sizes=sizes_from_gguf(spelled, fields["hidden"], fields["eps"]))


def _norms(keys: Keys) -> Literal["after", "before", "never"]:
    early = keys.flag("mamba_norm_before_gate", True)
    if not keys.flag("mamba_rms_norm", False):
        return "never"
    return "before" if early else "after"


class SideBySide(nn.Module):
    """Both mixers on the same input; each has its own layer of the cache."""

    def __init__(self, attention: nn.Module, mixer: nn.Module, times: Multipliers) -> None:
        super().__init__()
        self.attention, self.mixer, self.times = attention, mixer, times

    def forward(
        self,
        x: Tensor,
        rotation: ops.Rotation | None,
        batch: Batch,
        cache: tuple[PagedView, StateView],
        onto: Tensor | None = None,
    ) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        times = self.times
        for mixer, view, first, last in (
            (self.attention, cache[0], times.attention_in, times.attention_out),
            (self.mixer, cache[1], times.ssm_in, times.ssm_out),
        ):
            given = x if first == 1.0 else x * first
            if last == 1.0:
                onto = mixer(given, rotation, batch, view, onto)
            else:
                branch = mixer(given, rotation, batch, view) * last
                onto = branch if onto is None else onto + branch
        return cast(Tensor, onto)


class ScaledMLP(nn.Module):
    """A gated layer, whose gate and result are multiplied by constants."""

    def __init__(self, mlp: GatedMLP, gate: float, down: float) -> None:
        super().__init__()
        self.mlp, self.gate, self.down = mlp, gate, down

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that."""
        gate, up = self.mlp.gate_up(x).chunk(2, -1)
        inner = ops.silu_mul(torch.cat((gate * self.gate, up), -1), self.mlp.kernels)
        out: Tensor = self.mlp.down(inner) * self.down
        return out if onto is None else onto + out


class FalconH1(Decoder):
    Config: ClassVar[type[ModelConfig]] = FalconH1Config
    hf_names: ClassVar[Names] = hf_mixer_names("mamba").but(
        {
            "model.norm": "model.final_layernorm",
            "post_attention_layernorm": "pre_ff_layernorm",
            "mlp.gate_proj": "feed_forward.gate_proj",
            "mlp.up_proj": "feed_forward.up_proj",
            "mlp.down_proj": "feed_forward.down_proj",
        }
    )
    gguf_names: ClassVar[Names] = Hybrid.gguf_names.but({}, {"post_attention_layernorm.weight": "ffn_norm"})

    def views(self, batch: Batch) -> Sequence[Any]:
        return list(zip(batch.cache[::2], batch.cache[1::2], strict=True))

    @classmethod
    def embedding_scale(cls, config: Any, place: Placement) -> float:  # noqa: ARG003
        scale: float = config.times.embedding
        return scale

    @classmethod
    def mixer(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:
        attention = super().mixer(place, config, layer)
        sizes, at = config.sizes, place / "mixer"
        if place.in_gguf and not (at / "norm" / "weight").exists():
            sizes = replace(sizes, norms="never")
        factors = torch.tensor(config.times.ssm).repeat_interleave(torch.tensor(sizes.parts))
        folded = all(factor == 1.0 for factor in config.times.ssm)
        mixer = Mamba2Mixer(at, sizes, None if folded else factors.to(place.place.device, place.place.dtype))
        return SideBySide(attention, mixer, config.times)

    @classmethod
    def spec(cls, config: Any, layer: int) -> AttentionSpec:
        spec = attention_spec(config, layer)
        return replace(spec, scale=spec.scale * config.times.key)

    @classmethod
    def mlp(cls, place: Checkpoint, config: Any) -> nn.Module:
        gate, down = config.times.mlp
        mlp = super().mlp(place, config)
        return ScaledMLP(mlp, gate, down) if isinstance(mlp, GatedMLP) and (gate, down) != (1.0, 1.0) else mlp

    @classmethod
    def head_of(cls, place: Checkpoint, embed: Embedding, config: Any) -> Head:
        return Head.load(place, embed, config.hidden, config.tied, scale=config.times.head)

"""gpt-oss: attention whose every head may look at nothing (a sink), windows in every other layer, and experts with
biases whose gates are clamped. As published the experts are in MXFP4 blocks, which they stay in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor

from ..config import LONGEST, ModelConfig
from ..names import Names, gguf_name
from ..ops.cpu.kernels import Kernels
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Experts, MoE, Router, share_of
from ..parts.scaling import Yarn
from ..parts.split import Split
from ..published import mxfp4
from ..quantized import QuantizedTensor
from .decoder import WindowedConfig, gguf_keys, layer_windows
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing

_LIMIT: Final = 7.0
_SLOPE: Final = 1.702


@dataclass(frozen=True, slots=True, kw_only=True)
class GptOssConfig(WindowedConfig):
    gguf_interleaved: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5
    default_head_dim: ClassVar[int | None] = 64
    default_bias: ClassVar[bool] = True

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        for key, wanted in (("swiglu_limit", _LIMIT), ("swiglu_alpha", _SLOPE)):
            if spelled.number(key, wanted, low=0.0, high=1e6) != wanted:
                raise spelled.error(key, f"only {wanted} is computed here; no release has another")
        fields, window = cls._hf_fields(spelled), spelled.window("sliding_window", absent=128)
        windows = layer_windows(spelled, fields["layers"], window, lambda layer: layer % 2 == 1)
        mixture = Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"])
        return cls(**fields, windows=windows, mixture=mixture)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """YaRN's borders are not rounded to whole pairs, which a GGUF does not say."""
        spelled = gguf_keys(keys)
        fields, window = cls._gguf_fields(spelled), spelled.count("attention.sliding_window", most=LONGEST)
        if isinstance(fields["rope"].scaling, Yarn):
            fields["rope"] = replace(fields["rope"], scaling=replace(fields["rope"].scaling, truncate=False))
        windows = tuple(None if layer % 2 else window for layer in range(fields["layers"]))
        mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled))
        return cls(**fields, windows=windows, mixture=mixture)


def clamped(gate_up: Tensor, _kernels: Kernels | None) -> Tensor:
    """(up + 1) * gate * sigmoid(1.702 gate), both bounded."""
    gate, up = gate_up.chunk(2, -1)
    gate, up = gate.clamp(max=_LIMIT), up.clamp(-_LIMIT, _LIMIT)
    return (up + 1) * (gate * (_SLOPE * gate).sigmoid())


class GptOss(Mixing):
    Config: ClassVar[type[ModelConfig]] = GptOssConfig
    routers: ClassVar[tuple[str, ...]] = ("router",)
    gguf_names: ClassVar[Names] = gguf_name.but(
        {"post_attention_layernorm": "post_attention_norm", "self_attn.sinks": "attn_sinks"}
    )

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        at = place / "sinks" / "weight" if place.in_gguf else place / "sinks"
        share = Split("heads").part(config.heads.queries, place.place, at.name)
        spec = replace(cls.spec(config, layer), sinks=at.vector(config.heads.queries, share))
        bias = config.attention_bias
        return Attention.load(place, config.hidden, config.heads, spec, qkv_bias=bias, out_bias=bias)

    @classmethod
    def moe(cls, place: Checkpoint, config: Any, mixture: Mixture) -> MoE:
        home, at = cls.home_of(place)
        router = Router.load(at, mixture.routing, config.hidden, bias=True)
        load = _gguf_experts if place.in_gguf else _hf_experts
        return MoE.of(home, router, load(home / "experts", mixture, config.hidden))


def _gguf_experts(place: Checkpoint, mixture: Mixture, hidden: int) -> Experts:
    count, width = mixture.routing.experts, mixture.intermediate
    experts = Experts.load(place, count, hidden, width, curve=clamped)
    share = share_of(width, place / "down_proj" / "weight") or (0, width)
    gate, up = (_bias(place / name / "bias", count, width)[:, slice(*share)] for name in ("gate_proj", "up_proj"))
    experts.gate_up_bias = torch.cat((gate, up), 1)
    experts.down_bias = _once(_bias(place / "down_proj" / "bias", count, hidden), place)
    return experts


def _hf_experts(place: Checkpoint, mixture: Mixture, hidden: int) -> Experts:
    """Rows of gate and up take turns; plain ones are stored [experts, in, out]."""
    count, width = mixture.routing.experts, mixture.intermediate
    packed, stored = (place / "gate_up_proj_blocks").exists(), place.as_stored()
    read = _blocks if packed else _turned
    both, down = read(stored, "gate_up_proj", count, 2 * width, hidden), read(stored, "down_proj", count, hidden, width)
    part = Split("rows", mxfp4.BLOCK if packed else 1).part(width, place.place, place.name)
    share = slice(0, width) if part is None else slice(part.start, part.stop)
    bias = _bias(place / "gate_up_proj_bias", count, 2 * width)
    sides = [_settled(place, _taking_turns(both, first)[:, share]) for first in (0, 1)]
    out = _settled(
        place, down[..., share] if not packed else down[..., share.start // mxfp4.BLOCK : share.stop // mxfp4.BLOCK, :]
    )
    return Experts(
        sides,
        out,
        clamped,
        torch.cat([bias[:, first::2][:, share] for first in (0, 1)], 1),
        _once(_bias(place / "down_proj_bias", count, hidden), place),
        place.place.kernels,
    )


def _taking_turns(both: Tensor, first: int) -> Tensor:
    return both[:, first::2]


def _bias(place: Checkpoint, count: int, size: int) -> Tensor:
    bias = place.as_stored().matrix((count, size))
    return bias.to(place.place.dtype) if isinstance(bias, Tensor) else bias.dequantize(place.place.dtype)


def _once(bias: Tensor, place: Checkpoint) -> Tensor:
    """Ranks add up what they have: one of them has the bias."""
    return bias if place.place.rank == 0 else torch.zeros_like(bias)


def _turned(place: Checkpoint, name: str, count: int, rows: int, columns: int) -> Tensor:
    found = (place / name).matrix((count, columns, rows))
    assert isinstance(found, Tensor)
    return found.transpose(1, 2)


def _blocks(place: Checkpoint, name: str, count: int, rows: int, columns: int) -> Tensor:
    """[experts, rows, blocks, 17 bytes]."""
    size = columns // mxfp4.BLOCK
    blocks = (place / f"{name}_blocks").matrix((count, rows, size, mxfp4.BLOCK // 2))
    scales = (place / f"{name}_scales").matrix((count, rows, size))
    assert isinstance(blocks, Tensor)
    assert isinstance(scales, Tensor)
    return mxfp4.blocks(blocks, scales)


def _settled(place: Checkpoint, weight: Tensor) -> Any:
    if weight.dtype != torch.uint8:
        return place.settled(weight.contiguous())
    count, rows, blocks, _ = weight.shape
    return place.settled(
        QuantizedTensor(mxfp4.KIND, (count, rows, blocks * mxfp4.BLOCK), weight.reshape(count * rows, -1))
    )

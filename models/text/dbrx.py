"""DBRX: layer norms without biases, one projection to queries, keys and values, which is clipped, and experts whose
matrices lie one below the other, that back turned. Its config keeps attention and experts in sections.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from ..config import Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Experts, MoE, Router
from ..parts.norm import LayerNorm
from ..parts.split import Split
from .decoder import LARGEST, DecoderConfig, gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing

_SPELLINGS: Final = {
    "hidden_size": ("d_model",),
    "num_attention_heads": ("n_heads",),
    "num_hidden_layers": ("n_layers",),
    "max_position_embeddings": ("max_seq_len",),
    "num_key_value_heads": ("attn_config.kv_n_heads",),
    "rope_theta": ("attn_config.rope_theta",),
    "intermediate_size": ("ffn_config.ffn_hidden_size",),
    "num_experts": ("ffn_config.moe_num_experts",),
    "num_experts_per_tok": ("ffn_config.moe_top_k",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DbrxConfig(DecoderConfig):
    mixes: ClassVar[bool] = True
    gguf_interleaved: ClassVar[bool] = False
    gguf_eps: ClassVar[str] = "attention.layer_norm_epsilon"
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = _SPELLINGS

    mixture: Mixture
    clip: float | None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys({**keys, **_sections(keys)})
        if spelled.number("ffn_config.moe_normalize_expert_weights", 1.0, low=0.0, high=LARGEST) != 1.0:
            raise spelled.error("ffn_config.moe_normalize_expert_weights", "only sums of shares are computed here")
        fields = cls._hf_fields(spelled)
        mixture = Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"])
        clip = spelled.number("attn_config.clip_qkv", 0.0, low=0.0, high=LARGEST) or None
        return cls(**fields, mixture=mixture, clip=clip)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled))
        clip = spelled.number("attention.clamp_kqv", 0.0, low=0.0, high=LARGEST) or None
        return cls(**cls._gguf_fields(spelled), mixture=mixture, clip=clip)

    @classmethod
    def _hf_eps(cls, keys: Keys) -> float:  # noqa: ARG003
        """No file says it."""
        return 1e-5


def _sections(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both sections, by their paths."""
    found: dict[str, Any] = {}
    for name in ("attn_config", "ffn_config"):
        section = Keys(keys).section(name)
        found |= {} if section is None else dict(section.values)
    return found


class Dbrx(Mixing):
    Config: ClassVar[type[ModelConfig]] = DbrxConfig
    hf_names: ClassVar[Names] = Names(
        "transformer.blocks",
        {
            "model.embed_tokens": "transformer.wte",
            "model.norm": "transformer.norm_f",
            "input_layernorm": "norm_attn_norm.norm_1",
            "self_attn.qkv_proj": "norm_attn_norm.attn.Wqkv",
            "self_attn.o_proj": "norm_attn_norm.attn.out_proj",
            "post_attention_layernorm": "norm_attn_norm.norm_2",
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but({"post_attention_layernorm": "attn_output_norm"})

    @classmethod
    def norm_of(cls, place: Checkpoint, config: Any) -> nn.Module:
        return LayerNorm.load(place, config.hidden, config.eps, bias=False)

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        spec = cls.spec(config, layer)
        return Attention.load(place, config.hidden, config.heads, spec, order="stacked", clip=config.clip)

    @classmethod
    def moe(cls, place: Checkpoint, config: Any, mixture: Mixture) -> MoE:
        if place.in_gguf:
            return super().moe(place, config, mixture)
        home, routing, width = place / "ffn", mixture.routing, mixture.intermediate
        part = Split("rows").part(width, place.place, home.name)
        share = slice(0, width) if part is None else slice(part.start, part.stop)

        def read(name: str) -> Tensor:
            at = (home / "experts" / "mlp" / name).as_stored()
            found = at.matrix((routing.experts * width, config.hidden))
            assert isinstance(found, Tensor)
            return found.view(routing.experts, width, config.hidden)[:, share]

        gate, up = (home.settled(read(name)) for name in ("w1", "v1"))
        down = home.settled(read("w2").transpose(1, 2))
        router = Router.load(home / "router" / "layer", routing, config.hidden)
        return MoE.of(home, router, Experts([gate, up], down, cls.curve, kernels=place.place.kernels))

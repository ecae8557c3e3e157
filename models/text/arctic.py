"""Arctic: Llama whose layers have a small dense feed-forward layer after attention, and experts beside both: they read
what the layer began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from ..contract import Batch, PagedView
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.mlp import GatedMLP
from .decoder import DecoderConfig, gguf_keys
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcticConfig(DecoderConfig):
    mixes: ClassVar[bool] = True
    default_eps: ClassVar[float | None] = 1e-5

    mixture: Mixture

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        if not spelled.flag("parallel_attn_mlp_res", True):
            raise spelled.error("parallel_attn_mlp_res", "experts that follow attention are not computed here")
        if spelled.integer("moe_layer_frequency", 1, low=1, high=1024) != 1:
            raise spelled.error("moe_layer_frequency", "layers without experts are not computed here")
        fields = cls._hf_fields(spelled)
        return cls(**fields, mixture=Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"]))

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled))
        return cls(**cls._gguf_fields(spelled), mixture=mixture)


class ArcticBlock(nn.Module):
    """Attention, then a dense layer; and experts of what came before both."""

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: Attention,
        mlp_norm: nn.Module,
        mlp: GatedMLP,
        experts_norm: nn.Module,
        experts: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.mlp_norm, self.mlp, self.experts_norm, self.experts = mlp_norm, mlp, experts_norm, experts

    def forward(self, hidden: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView) -> Tensor:
        begun = self.experts_norm(hidden)  # before attention is added onto it
        hidden = self.attention(self.attention_norm(hidden), rotation, batch, cache, onto=hidden)
        hidden = self.mlp(self.mlp_norm(hidden), onto=hidden)
        out: Tensor = self.experts(begun, onto=hidden)
        return out


class Arctic(Mixing):
    Config: ClassVar[type[ModelConfig]] = ArcticConfig
    homes: ClassVar[tuple[str, ...]] = ("block_sparse_moe", "mlp")
    experts: ClassVar[tuple[str, str, str]] = ("w1", "w3", "w2")
    hf_names: ClassVar[Names] = Names(
        "model.layers",
        {
            f"residual_mlp.{name}_proj": f"residual_mlp.{stem}"
            for name, stem in (("gate", "w1"), ("up", "w3"), ("down", "w2"))
        },
    )
    gguf_names: ClassVar[Names] = gguf_name.but(
        {
            "residual_mlp.gate_proj": "ffn_gate",
            "residual_mlp.up_proj": "ffn_up",
            "residual_mlp.down_proj": "ffn_down",
            "residual_layernorm": "ffn_norm",
            "post_attention_layernorm": "ffn_norm_exps",
        }
    )

    @classmethod
    def block(cls, place: Checkpoint, config: Any, layer: int) -> Any:
        return ArcticBlock(
            cls.norm_of(place / "input_layernorm", config),
            cls.attention(place / "self_attn", config, layer),
            cls.norm_of(place / "residual_layernorm", config),
            GatedMLP.load(place / "residual_mlp", config.hidden, config.hidden),
            cls.norm_of(place / "post_attention_layernorm", config),
            cls.feed_forward(place, config, layer),
        )

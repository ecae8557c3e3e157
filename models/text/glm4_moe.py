"""GLM-4.5 and 4.6, Air too: ordinary attention of which half a head turns, and DeepSeek V3's experts, ungrouped."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import Keys, ModelConfig
from ..names import Names, gguf_name
from ..parts.attention import Attention
from ..parts.checkpoint import Checkpoint
from ..parts.moe import Routing
from .deepseek import DeepSeekConfig, beyond, gguf_scored_routing, sigmoid_routing
from .mixture import Mixing


@dataclass(frozen=True, slots=True, kw_only=True)
class Glm4MoEConfig(DeepSeekConfig):
    """None in `head_norms`: wherever a GGUF has them."""

    gguf_interleaved: ClassVar[bool] = False
    rotary_share: ClassVar[float] = 0.5
    default_eps: ClassVar[float | None] = 1e-5

    head_norms: bool | None

    @classmethod
    def _hf_fields(cls, keys: Keys) -> dict[str, Any]:
        fields = super(Glm4MoEConfig, cls)._hf_fields(keys)
        return {**fields, "head_norms": keys.flag("use_qk_norm", False)}

    @classmethod
    def _gguf_fields(cls, keys: Keys) -> dict[str, Any]:
        """Its blocks count the one that guesses a token further."""
        fields = super(Glm4MoEConfig, cls)._gguf_fields(keys)
        guessing = keys.integer("nextn_predict_layers", 0, low=0, high=fields["layers"] - 1)
        return {**fields, "layers": fields["layers"] - guessing, "head_norms": None}

    @classmethod
    def _hf_routing(cls, keys: Keys) -> Routing:
        return sigmoid_routing(keys)

    @classmethod
    def _gguf_routing(cls, keys: Keys) -> Routing:
        return gguf_scored_routing(keys)


class Glm4MoE(Mixing):
    Config: ClassVar[type[ModelConfig]] = Glm4MoEConfig
    gguf_names: ClassVar[Names] = gguf_name.but({"post_attention_layernorm": "post_attention_norm"})

    @classmethod
    def attention(cls, place: Checkpoint, config: Any, layer: int) -> Attention:
        normed = (place / "q_norm" / "weight").exists() if config.head_norms is None else config.head_norms
        return Attention.load(
            place,
            config.hidden,
            config.heads,
            cls.spec(config, layer),
            qkv_bias=config.attention_bias,
            norm_eps=config.eps if normed else None,
        )

    @classmethod
    def is_spare(cls, name: str, config: Any) -> bool:
        return super().is_spare(name, config) or beyond(name, config.layers)

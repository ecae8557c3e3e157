"""Mixtral: Mistral with experts, of which a token takes the two that its router finds best. GGUF's `llama` is Llama,
Mistral and Mixtral: without experts this is the former two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..config import LONGEST, ModelConfig
from .decoder import gguf_keys
from .mistral import Mistral, MistralConfig
from .mixture import Mixing, Mixture, gguf_expert_width, gguf_routing, hf_routing


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtralConfig(MistralConfig):
    mixes: ClassVar[bool] = True

    mixture: Mixture | None

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = cls._keys(keys)
        fields = cls._hf_fields(spelled)
        mixture = Mixture(routing=hf_routing(spelled), intermediate=fields["intermediate"])
        return cls(**fields, sliding_window=spelled.window("sliding_window", absent=None), mixture=mixture)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        spelled = gguf_keys(keys)
        window = spelled.integer("attention.sliding_window", 0, low=0, high=LONGEST)
        mixture = None
        if spelled.integer("expert_count", 0, low=0, high=LONGEST):
            mixture = Mixture(routing=gguf_routing(spelled), intermediate=gguf_expert_width(spelled))
        return cls(**cls._gguf_fields(spelled), sliding_window=window or None, mixture=mixture)


class Mixtral(Mixing, Mistral):
    Config: ClassVar[type[ModelConfig]] = MixtralConfig
    homes: ClassVar[tuple[str, ...]] = ("block_sparse_moe", "mlp")
    experts: ClassVar[tuple[str, str, str]] = ("w1", "w3", "w2")

"""What decoders have in common of whose layers only some attend: the others carry a state of fixed size.

Alone it is no architecture. A family states which layers attend, and what the others do.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from torch import nn

from ..config import Keys
from ..names import Names, gguf_name
from ..parts.checkpoint import Checkpoint
from .decoder import Decoder
from .mamba import MIXER_STEMS, MIXER_TENSORS

KINDS: Final[Mapping[str, str]] = {
    "attention": "attends",
    "full_attention": "attends",
    "linear_attention": "carries",
    "mamba": "carries",
    "conv": "carries",
}


def hf_attending(keys: Keys, layers: int) -> frozenset[int]:
    kinds = keys.words("layer_types", KINDS, layers)
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "attends")


def gguf_attending(keys: Keys, layers: int) -> tuple[Keys, frozenset[int]]:
    """Layers that attend are those with heads of keys; the keys come back with one number for all of these."""
    name = "attention.head_count_kv"
    counts = keys.values.get(keys.prefix + name)
    if not isinstance(counts, list):
        return keys, frozenset(range(layers))
    attending = frozenset(layer for layer, count in enumerate(keys.numbers(name, layers, low=0, high=1 << 20)) if count)
    heads = {counts[layer] for layer in attending} or {1}
    if len(heads) > 1:
        raise keys.error(name, "layers that attend differ in it, which is not computed here")
    return replace(keys, values={**keys.values, keys.prefix + name: heads.pop()}), attending


class Hybrid(Decoder):
    """Layers that are not in the config's `attending` have a `recurrent` mixer."""

    gguf_names: ClassVar[Names] = gguf_name.but(MIXER_STEMS, MIXER_TENSORS)

    @classmethod
    def mixer(cls, place: Checkpoint, config: Any, layer: int) -> nn.Module:
        if layer in config.attending:
            return super().mixer(place, config, layer)
        return cls.recurrent(place / "mixer", config)

    @classmethod
    @abstractmethod
    def recurrent(cls, place: Checkpoint, config: Any) -> nn.Module:
        """The mixer of a layer that carries a state."""


def hf_mixer_names(called: str, stems: Iterable[str] = MIXER_STEMS) -> Names:
    """Names of files in which a layer's mixer is `called` so."""
    both = [*stems, *MIXER_TENSORS]
    renamed = {name: name.replace("mixer", called, 1) for name in both}
    return Names("model.layers", renamed, renamed)

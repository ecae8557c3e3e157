"""Checkpoints of authors' own code, seen as the files that others publish of them. What they are, is for
`models/originals.py` to say.
"""

from dataclasses import replace

from torch import Tensor

from ...models.contract import Part
from ...models.originals import Original, recognise
from .mapping import narrow
from .sized import Overlaid, SizedLoader


class OriginalWeights(Overlaid):
    """`inner` under the names that the model knows."""

    def __init__(self, inner: SizedLoader, original: Original) -> None:
        super().__init__(inner, replace(inner.metadata, architecture=original.architecture, config=original.config))
        self._original = original

    def tensor_names(self) -> list[str]:
        return list(self._original.stored)

    def has_tensor(self, name: str) -> bool:
        return name in self._original.stored

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        stored = self._inner.load_tensor(self._original.stored.get(name, name))
        assert isinstance(stored, Tensor)
        return narrow(self._original.laid_out(name, stored), part)

    def release(self, name: str) -> None:
        self._inner.release(self._original.stored.get(name, name))


def seen_as_published(weights: SizedLoader) -> SizedLoader:
    """`weights` themselves where they are not of this kind."""

    def shape(name: str) -> tuple[int, ...]:
        return tuple(weights.load_tensor(name).shape)

    original = recognise(weights.tensor_names(), weights.metadata.config, shape)
    return weights if original is None else OriginalWeights(weights, original)

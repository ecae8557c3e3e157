"""What a loader of any format knows of its files before anything is loaded, and what one over another leaves to it."""

from typing import Protocol

import torch

from ...models.contract import WeightLoader, WeightMetadata


class SizedLoader(WeightLoader, Protocol):
    """A loader that knows from the headers how much its tensors take, and in which dtype its matrices are stored."""

    @property
    def nbytes(self) -> int: ...
    @property
    def stored_dtype(self) -> torch.dtype | None:
        """None where they are packed, or for a format that mixes dtypes."""
        ...


class Overlaid:
    """The tensors of `inner`, which a loader over it shows otherwise, with what is then to be said of them."""

    def __init__(self, inner: SizedLoader, metadata: WeightMetadata) -> None:
        self._inner, self._metadata = inner, metadata

    @property
    def metadata(self) -> WeightMetadata:
        return self._metadata

    @property
    def nbytes(self) -> int:
        return self._inner.nbytes

    @property
    def stored_dtype(self) -> torch.dtype | None:
        return self._inner.stored_dtype

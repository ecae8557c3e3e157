"""What a loader of any format knows of its files before anything is loaded."""

from typing import Protocol

import torch

from ...models.contract import WeightLoader


class SizedLoader(WeightLoader, Protocol):
    """A loader that knows from the headers how much its tensors take, and in which dtype its matrices are stored."""

    @property
    def nbytes(self) -> int: ...
    @property
    def stored_dtype(self) -> torch.dtype | None:
        """None where they are packed, or for a format that mixes dtypes."""
        ...

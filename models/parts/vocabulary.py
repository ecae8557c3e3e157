"""The two ends of a language model: token ids to vectors, and vectors to scores of the next token."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Collective, Part, Placement, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .split import Split, joining


class Embedding(nn.Module):
    """A row for each token id, whole on every rank."""

    def __init__(self, weight: Weight, dtype: torch.dtype, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.weight, self.dtype, self.kernels = weight, dtype, kernels

    @property
    def vocabulary(self) -> int:
        return int(self.weight.shape[0])

    def forward(self, ids: Tensor) -> Tensor:
        return ops.embedding(ids, self.weight, self.dtype, self.kernels)

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight

    @classmethod
    def load(cls, place: Checkpoint, vocabulary: int | None, hidden: int) -> Self:
        return cls((place / "weight").matrix((vocabulary, hidden)), place.place.dtype, place.place.kernels)


class Head(nn.Module):
    """A score for each token id, fp32. Ranks divide the rows where these come out even, and gather the scores."""

    def __init__(
        self,
        weight: Weight,
        collective: Collective | None = None,
        kernels: Kernels | None = None,
        *,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.collective, self.kernels, self.tied = weight, collective, kernels, tied

    def forward(self, hidden: Tensor) -> Tensor:
        scores = ops.linear(hidden, (self.weight,), (None,), self.kernels).float()
        return scores if self.collective is None else self.collective.gather(scores)

    def own_weights(self) -> Iterator[Weight]:
        if not self.tied:
            yield self.weight

    @classmethod
    def load(cls, place: Checkpoint, embedding: Embedding, hidden: int, tied: bool | None) -> Self:
        """`tied`: the embedding's own matrix serves; None: it does where the file has no other."""
        if tied or (tied is None and not (place / "weight").exists()):
            return cls.tied_to(embedding, place.place)
        part = _share(embedding.vocabulary, place.place)
        weight = (place / "weight").matrix((embedding.vocabulary, hidden), part)
        return cls(weight, joining(place.place, place.name) if part else None, place.place.kernels)

    @classmethod
    def tied_to(cls, embedding: Embedding, place: Placement) -> Self:
        """The embedding's own matrix, or this rank's rows of it."""
        weight = embedding.weight
        part = _share(embedding.vocabulary, place, 1 if isinstance(weight, Tensor) else weight.grain)
        if part is None:
            return cls(weight, kernels=place.kernels, tied=True)
        rows = weight[part.start : part.stop] if isinstance(weight, Tensor) else weight.part(part)
        return cls(rows, joining(place, "the head"), place.kernels, tied=True)


def _share(vocabulary: int, place: Placement, grain: int = 1) -> Part | None:
    """This rank's rows, in whole units of `grain`."""
    even = vocabulary % (place.world * grain) == 0
    return Split("rows").part(vocabulary, place, "the head") if even else None

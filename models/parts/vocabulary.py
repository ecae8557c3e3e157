"""The two ends of a language model: token ids to vectors, and vectors to scores of the next token."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Batch, Collective, Part, Placement, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .split import Split, joining


class Embedding(nn.Module):
    """A row for each token id, times `scale`, whole on every rank."""

    def __init__(self, weight: Weight, dtype: torch.dtype, kernels: Kernels | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.weight, self.dtype, self.kernels, self.scale = weight, dtype, kernels, scale

    @property
    def vocabulary(self) -> int:
        return int(self.weight.shape[0])

    def forward(self, ids: Tensor) -> Tensor:
        rows = ops.embedding(ids, self.weight, self.dtype, self.kernels)
        return rows if self.scale == 1.0 else rows * self.scale

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight

    @classmethod
    def load(cls, place: Checkpoint, vocabulary: int | None, hidden: int, scale: float = 1.0) -> Self:
        weight = (place / "weight").matrix((vocabulary, hidden))
        return cls(weight, place.place.dtype, place.place.kernels, scale)


class Entrance(nn.Module):
    """From a batch's ids to its first hidden states: embeddings, and what some models add to them or make of them.

    `learned` has a row for each position, the first in row `begin`; `project` and `norm` come after.
    """

    def __init__(
        self,
        embed: Embedding,
        learned: Embedding | None = None,
        begin: int = 0,
        norm: nn.Module | None = None,
        project: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embed, self.learned, self.begin, self.norm, self.project = embed, learned, begin, norm, project

    def forward(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.embed(batch.ids)
        if self.project is not None:
            hidden = self.project(hidden)
        if self.learned is not None:
            hidden = hidden + self.learned(batch.positions + self.begin)
        return hidden if self.norm is None else self.norm(hidden)


class Head(nn.Module):
    """A score for each token id, fp32. Ranks divide the rows where these come out even, and gather the scores."""

    def __init__(
        self,
        weight: Weight,
        collective: Collective | None = None,
        kernels: Kernels | None = None,
        *,
        tied: bool = False,
        bias: Tensor | None = None,
        scale: float = 1.0,
        softcap: float | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        """Scores are divided by `lengths`, multiplied by `scale`; `softcap` bounds them by tanh."""
        super().__init__()
        self.weight, self.collective, self.kernels, self.tied = weight, collective, kernels, tied
        self.bias, self.scale, self.softcap, self.lengths = bias, scale, softcap, lengths

    def forward(self, hidden: Tensor) -> Tensor:
        scores = ops.linear(hidden, (self.weight,), (self.bias,), self.kernels).float()
        if self.lengths is not None:
            scores = scores / self.lengths
        if self.scale != 1.0:
            scores = scores * self.scale
        if self.softcap is not None:
            scores = (scores / self.softcap).tanh() * self.softcap
        return scores if self.collective is None else self.collective.gather(scores)

    def own_weights(self) -> Iterator[Weight]:
        if not self.tied:
            yield self.weight
        if self.bias is not None:
            yield self.bias

    @classmethod
    def load(
        cls,
        place: Checkpoint,
        embedding: Embedding,
        hidden: int,
        tied: bool | None,
        *,
        bias: bool | None = False,
        scale: float = 1.0,
        softcap: float | None = None,
        by_length: bool = False,
    ) -> Self:
        """`tied`: the embedding's own matrix serves; None: it does where the file has no other. `by_length`: rows are
        meant as divided by theirs.
        """
        if tied or (tied is None and not (place / "weight").exists()):
            head = cls.tied_to(embedding, place.place)
            head.scale, head.softcap = scale, softcap
            return head
        part = _share(embedding.vocabulary, place.place)
        weight = (place / "weight").matrix((embedding.vocabulary, hidden), part)
        biased = (place / "bias").exists() if bias is None else bias
        shift = (place / "bias").vector(embedding.vocabulary, part, place.place.dtype) if biased else None
        joined = joining(place.place, place.name) if part else None
        lengths = _lengths(place / "weight", part) if by_length else None
        kernels = place.place.kernels
        return cls(weight, joined, kernels, bias=shift, scale=scale, softcap=softcap, lengths=lengths)

    @classmethod
    def tied_to(cls, embedding: Embedding, place: Placement) -> Self:
        """The embedding's own matrix, or this rank's rows of it."""
        weight = embedding.weight
        part = _share(embedding.vocabulary, place, 1 if isinstance(weight, Tensor) else weight.grain)
        if part is None:
            return cls(weight, kernels=place.kernels, tied=True)
        rows = weight[part.start : part.stop] if isinstance(weight, Tensor) else weight.part(part)
        return cls(rows, joining(place, "the head"), place.kernels, tied=True)


def _lengths(place: Checkpoint, part: Part | None) -> Tensor | None:
    """Of each row as the file has it; None where it has none."""
    if not place.exists():
        return None
    stored = place.loader.load_tensor(place.name, part)
    rows = stored if isinstance(stored, Tensor) else stored.dequantize(torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)
    return lengths.clamp(min=1e-7).to(place.place.device)


def _share(vocabulary: int, place: Placement, grain: int = 1) -> Part | None:
    """This rank's rows, in whole units of `grain`."""
    even = vocabulary % (place.world * grain) == 0
    return Split("rows").part(vocabulary, place, "the head") if even else None

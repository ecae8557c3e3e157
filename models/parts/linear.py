"""A projection: one or several weights side by side, as the checkpoint stores them, and how they split across ranks."""

from collections.abc import Iterator, Sequence
from typing import Self

from torch import Tensor, nn

from .. import ops
from ..contract import Collective, Part, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .split import Split, joining


class Linear(nn.Module):
    """x @ weight.T + bias of each weight, side by side in one result.

    `kernels` compute it where they can. With `collective`, the ranks' results are shares of one sum; the bias is then
    added to the sum, once.
    """

    def __init__(
        self,
        weights: Sequence[Weight],
        biases: Sequence[Tensor | None],
        collective: Collective | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.weights, self.biases, self.collective = tuple(weights), tuple(biases), collective
        self.sizes = tuple(int(weight.shape[0]) for weight in weights)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        if self.collective is None:
            return ops.linear(x, self.weights, self.biases, self.kernels, onto)
        out = self.collective.sum(ops.linear(x, self.weights, (None,) * len(self.weights), self.kernels))
        out = out if self.biases[0] is None else out + self.biases[0]
        return out if onto is None else onto + out

    def gated(self, x: Tensor) -> Tensor:
        """silu of the first of two weights' product, times the second's."""
        return ops.silu_linear(x, self.weights, self.biases, self.kernels)

    def own_weights(self) -> Iterator[Weight]:
        yield from self.weights
        yield from (bias for bias in self.biases if bias is not None)

    @classmethod
    def load(
        cls,
        places: Sequence[Checkpoint],
        columns: int,
        rows: Sequence[int],
        split: Split | None = None,
        bias: bool | None = False,
    ) -> Self:
        """A weight [rows, columns] from each place. `bias=None`: wherever the file has one."""
        pairs = [_load_one(place, (size, columns), split, bias) for place, size in zip(places, rows, strict=True)]
        collective = joining(places[0].place, places[0].name) if split and split.kind == "columns" else None
        return cls([weight for weight, _ in pairs], [bias for _, bias in pairs], collective, places[0].place.kernels)

    @classmethod
    def load_stacked(
        cls,
        place: Checkpoint,
        columns: int,
        rows: Sequence[int],
        split: Split | None = None,
        bias: bool | None = False,
    ) -> Self:
        """Several weights that the checkpoint has in one tensor, one below the other; each is split by itself."""
        total, biased = sum(rows), (place / "bias").exists() if bias is None else bias
        weights, biases, first = [], [], 0
        for size in rows:
            share = (split.part(size, place.place, place.name) if split else None) or Part(0, 0, size)
            part = Part(0, first + share.start, first + share.stop)
            weights.append((place / "weight").matrix((total, columns), part))
            biases.append((place / "bias").vector(total, part, place.place.dtype) if biased else None)
            first += size
        return cls(weights, biases, None, place.place.kernels)


def _load_one(
    place: Checkpoint, shape: tuple[int, int], split: Split | None, bias: bool | None
) -> tuple[Weight, Tensor | None]:
    part = split.part(shape[split.dim], place.place, place.name) if split else None
    weight = (place / "weight").matrix(shape, part)
    biased = (place / "bias").exists() if bias is None else bias
    return weight, _load_bias(place / "bias", shape[0], part) if biased else None


def _load_bias(place: Checkpoint, size: int, part: Part | None) -> Tensor:
    """The rows' share; of a weight split by columns every rank holds the whole bias."""
    return place.vector(size, part if part and part.dim == 0 else None, place.place.dtype)

"""Norms of hidden states."""

from collections.abc import Iterator
from typing import Self

from torch import Tensor, nn

from .. import ops
from ..contract import Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint


class RMSNorm(nn.Module):
    """x / root-mean-square(x) * weight."""

    def __init__(self, norm: ops.Norm, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.norm, self.kernels = norm, kernels

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.norm, self.kernels)

    def own_weights(self) -> Iterator[Weight]:
        yield self.norm.weight

    @classmethod
    def load(cls, place: Checkpoint, size: int, eps: float) -> Self:
        return cls(ops.Norm((place / "weight").vector(size), eps), place.place.kernels)

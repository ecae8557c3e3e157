"""Rotary positions: from the positions of a batch to the turn of every pair, once a forward pass.

It does not rotate; `ops.attention` does, next to the cache.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..ops import Rotation
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .scaling import Divided, Long, Scaling


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """`dim` of a head's numbers turn; `interleaved` pairs are neighbours, others lie half of `dim` apart."""

    theta: float
    dim: int
    scaling: Scaling
    interleaved: bool = False


class Rope(nn.Module):
    """The turns of a batch's positions. Frequencies that do not follow positions are computed once."""

    def __init__(self, config: RopeConfig, device: torch.device, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.config, self.kernels = config, kernels
        self.frequencies = self._frequencies(torch.zeros(1, dtype=torch.int64, device=device))

    def forward(self, positions: Tensor) -> Rotation:
        frequencies = self.frequencies if self.frequencies.dim() == 1 else self._frequencies(positions)
        cos, sin = ops.turns(positions, frequencies, self.config.scaling.factor, self.kernels)
        return Rotation(cos, sin, self.config.interleaved)

    def _frequencies(self, positions: Tensor) -> Tensor:
        return self.config.scaling.frequencies(self.config.theta, self.config.dim, positions)

    @classmethod
    def load(cls, root: Checkpoint, config: RopeConfig) -> Self:
        """With the divisors that a GGUF holds as tensors."""
        return cls(replace(config, scaling=_with_tensors(root, config)), root.place.device, root.place.kernels)


def _with_tensors(root: Checkpoint, config: RopeConfig) -> Scaling:
    scaling, pairs = config.scaling, config.dim // 2
    if isinstance(scaling, Long) and scaling.short is None:
        short, long = (root / f"rope_factors_{name}" / "weight" for name in ("short", "long"))
        return replace(scaling, short=short.vector(pairs), long=long.vector(pairs))
    divisors = root / "rope_freqs" / "weight"
    return Divided(divisors.vector(pairs), scaling, scaling.factor) if divisors.exists() else scaling

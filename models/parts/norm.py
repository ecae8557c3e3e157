"""Norms of hidden states."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Collective, Placement, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .split import Split, joining


class RMSNorm(nn.Module):
    """x / root-mean-square(x) * weight."""

    def __init__(self, norm: ops.Norm, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.norm, self.kernels = norm, kernels

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which stays as it is."""
        return ops.rms_norm(x, self.norm, self.kernels, onto)

    def own_weights(self) -> Iterator[Weight]:
        yield self.norm.weight

    @classmethod
    def load(cls, place: Checkpoint, size: int, eps: float, offset: float = 0.0) -> Self:
        """`offset` is what a weight is stored less; a GGUF has it added."""
        weight = (place / "weight").vector(size)
        return cls(ops.Norm(weight if place.in_gguf or not offset else weight + offset, eps), place.place.kernels)


class LayerNorm(nn.Module):
    """(x - mean(x)) / deviation(x) * weight + bias, with or without the last two."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = weight, bias, eps

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight, self.bias, self.eps)

    def own_weights(self) -> Iterator[Weight]:
        yield from (part for part in (self.weight, self.bias) if part is not None)

    @classmethod
    def load(cls, place: Checkpoint, size: int, eps: float, *, bias: bool | None = True, offset: float = 0.0) -> Self:
        """`bias=None`: if the file has one. `offset` as an `RMSNorm`'s."""
        weight = (place / "weight").vector(size)
        biased = (place / "bias").exists() if bias is None else bias
        shift = (place / "bias").vector(size) if biased else None
        return cls(weight if place.in_gguf or not offset else weight + offset, shift, eps)


class WholeNorm(nn.Module):
    """A root-mean-square norm over all heads of a projection, of which this rank may have a part."""

    def __init__(self, weight: Tensor, eps: float, place: Placement, collective: Collective | None) -> None:
        super().__init__()
        self.weight, self.eps, self.world, self.collective = weight, eps, place.world, collective

    def forward(self, heads: Tensor) -> Tensor:
        """Of heads [tokens, heads, head_dim]."""
        wide = heads.flatten(1).float()
        squares = wide.square().sum(-1, keepdim=True)
        if self.collective is not None:
            squares = self.collective.sum(squares)
        scale = torch.rsqrt(squares / (self.world * wide.shape[1]) + self.eps)
        return (wide * scale * self.weight).to(heads.dtype).view_as(heads)

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight

    @classmethod
    def load(cls, place: Checkpoint, size: int, unit: int, eps: float) -> Self:
        """Of a projection of `size` numbers, in heads of `unit`."""
        weight = place / "weight"
        part = Split("heads", unit).part(size, place.place, weight.name)
        return cls(weight.vector(size, part), eps, place.place, joining(place.place, weight.name))


class HeadsNorm(nn.Module):
    """A layer norm of each head, every head with weights of its own."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, heads: Tensor) -> Tensor:
        """Of heads [tokens, heads, head_dim]."""
        return (ops.layer_norm(heads, None, None, self.eps).float() * self.weight).to(heads.dtype)

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight

    @classmethod
    def load(cls, place: Checkpoint, heads: int, dim: int, eps: float) -> Self:
        """This rank's heads."""
        weight = place / "weight"
        part = Split("heads").part(heads, place.place, weight.name)
        stored = weight.matrix((heads, dim), part)
        return cls(stored.float() if isinstance(stored, Tensor) else stored.dequantize(torch.float32), eps)

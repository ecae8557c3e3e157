"""A weight that stays packed: the bytes of the file, and what is needed to read them as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from .blocks import block_of, dequantize

if TYPE_CHECKING:
    from .contract import Part


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedTensor:
    """A matrix in blocks, as stored. A value, not a tensor: `ops` knows how to compute with each `kind`.

    `kind` is GGML's word ("Q4_K"); `shape` is the logical one, [.., rows, columns]; `data` [all rows, bytes of a row]
    uint8 is usually a view of the mapped file. `layout` says how `data` is arranged ("file": as stored); other formats
    keep their scales in `side`.
    """

    kind: str
    shape: tuple[int, ...]
    data: Tensor
    layout: str = "file"
    side: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + sum(tensor.nbytes for tensor in self.side.values())

    @property
    def device(self) -> torch.device:
        return self.data.device

    def to(self, device: torch.device) -> Self:
        return replace(self, data=self.data.to(device), side={k: v.to(device) for k, v in self.side.items()})

    def part(self, part: "Part") -> Self:
        """A slice along the first dimension, or along the last at block borders; a view either way."""
        edges, length = (part.start, part.stop), part.stop - part.start
        if part.dim == 0 and len(self.shape) > 1:
            rows = self.data.shape[0] // self.shape[0]
            return replace(self, shape=(length, *self.shape[1:]), data=self.data[edges[0] * rows : edges[1] * rows])
        if part.dim != len(self.shape) - 1:
            raise ValueError(
                f"a {self.kind} tensor of shape {list(self.shape)} is not sliced along dimension {part.dim}"
            )
        block = block_of(self.kind)
        if part.start % block.elements or part.stop % block.elements:
            raise ValueError(
                f"columns {part.start}:{part.stop} of a {self.kind} tensor do not fall on blocks of {block.elements}"
            )
        start, stop = (edge // block.elements * block.nbytes for edge in edges)
        return replace(self, shape=(*self.shape[:-1], length), data=self.data[:, start:stop])

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers, in `shape`. The arithmetic is fp32, as in the format's description; `dtype` is the last step."""
        return dequantize(self.kind, self.data).reshape(self.shape).to(dtype)

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

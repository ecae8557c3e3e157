"""A weight that stays packed: the bytes of the file, and what is needed to read them as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Final, Self

import torch
from torch import Tensor

from .blocks import Block, block_of, dequantize

if TYPE_CHECKING:
    from .contract import Part

INT8: Final = "INT8"
FILE: Final = "file"
TILED: Final = "tiles16"
PUBLISHED: Final = "published"
TILE_ROWS: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedTensor:
    """A matrix in blocks, as stored. A value, not a tensor: `ops` knows how to compute with each `kind`.

    `kind` is GGML's word ("Q4_K"); `shape` is the logical one, [.., rows, columns]; `data` [all rows, bytes of a row]
    uint8 is usually a view of the mapped file. `layout` says how `data` is arranged: FILE, as stored, or TILED, as the
    CPU kernels want it, [tiles of 16 rows, bytes of a tile]. Other formats keep their scales in `side`: INT8, a signed
    byte a number, has one a row under "scale". Blocks whose columns were sorted have there, under "columns", which
    column of the matrix each is. PUBLISHED are the classes of `published`, whose `kind` is only a name.
    """

    kind: str
    shape: tuple[int, ...]
    data: Tensor
    layout: str = FILE
    side: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + sum(tensor.nbytes for tensor in self.side.values())

    @property
    def grain(self) -> int:
        """How many rows can only be had together."""
        return TILE_ROWS if self.layout == TILED and len(self.shape) == 2 else 1

    @property
    def block(self) -> int:
        """How many columns can only be had together."""
        if "columns" in self.side:
            return self.shape[-1]
        return 1 if self.kind == INT8 else block_of(self.kind).elements

    @property
    def device(self) -> torch.device:
        return self.data.device

    def in_blocks(self) -> "QuantizedTensor":
        """The same numbers as the CPU kernels could take them; itself, where there is nothing to gain."""
        return self

    def alike(self, other: "QuantizedTensor") -> bool:
        """Whether the two can be one stack of matrices."""
        apart = self.layout == PUBLISHED or "columns" in self.side or "columns" in other.side
        return (self.kind, self.layout) == (other.kind, other.layout) and not apart

    def to(self, device: torch.device) -> Self:
        return replace(self, data=self.data.to(device), side={k: v.to(device) for k, v in self.side.items()})

    def part(self, part: "Part") -> Self:
        """A slice along the first dimension, or along the last at block borders; a view either way. Of tiles: whole
        ones. Of several matrices also some rows of each: a copy.
        """
        if self.layout == TILED:
            return self._tiles(part)
        edges, length = (part.start, part.stop), part.stop - part.start
        if part.dim == 0 and len(self.shape) > 1:
            rows = self.data.shape[0] // self.shape[0]
            taken = slice(edges[0] * rows, edges[1] * rows)
            side = {name: one if name == "columns" else one[taken] for name, one in self.side.items()}
            return replace(self, shape=(length, *self.shape[1:]), data=self.data[taken], side=side)
        if part.dim == 1 and len(self.shape) == 3:
            return self._rows_of_each(part)
        self.check_columns(part)
        block = Block(1, 1) if self.kind == INT8 else block_of(self.kind)
        start, stop = (edge // block.elements * block.nbytes for edge in edges)
        return replace(self, shape=(*self.shape[:-1], length), data=self.data[:, start:stop])

    def check_columns(self, part: "Part") -> None:
        """Raise `ValueError` unless these columns can be had without their neighbours."""
        if part.dim != len(self.shape) - 1:
            raise ValueError(
                f"a {self.kind} tensor of shape {list(self.shape)} is not sliced along dimension {part.dim}"
            )
        if part.start % self.block or part.stop % self.block:
            raise ValueError(
                f"columns {part.start}:{part.stop} of a {self.kind} tensor do not fall on blocks of {self.block}"
            )

    def _rows_of_each(self, part: "Part") -> Self:
        data, *sides = (
            tensor.view(*self.shape[:2], *tensor.shape[1:])[:, part.start : part.stop].flatten(0, 1)
            for tensor in (self.data, *self.side.values())
        )
        shape = (self.shape[0], part.stop - part.start, self.shape[2])
        return replace(self, shape=shape, data=data, side=dict(zip(self.side, sides, strict=True)))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The numbers, in `shape`. The arithmetic is fp32, as in the format's description; `dtype` is the last step."""
        return self.rows(slice(None)).reshape(self.shape).to(dtype)

    def rows(self, taken: slice | Tensor, out: Tensor | None = None) -> Tensor:
        """The numbers of these rows of all, fp32 [rows, columns]; written to `out` where one is given."""
        if self.layout != FILE:
            raise ValueError(f"a {self.kind} tensor in the layout {self.layout} is not unpacked here")
        if "columns" in self.side:
            found = dequantize(self.kind, self.data[taken])
            out = torch.empty_like(found) if out is None else out
            return out.index_copy_(1, self.side["columns"], found)
        if self.kind != INT8:
            return dequantize(self.kind, self.data[taken], out)
        return torch.mul(self.data[taken].view(torch.int8), self.side["scale"][taken, None], out=out)

    def _tiles(self, part: "Part") -> Self:
        if len(self.shape) == 3 and part.dim == 0:
            tiles = self.data.shape[0] // self.shape[0]
            data = self.data[part.start * tiles : part.stop * tiles]
            return replace(self, shape=(part.stop - part.start, *self.shape[1:]), data=data)
        if part.dim or part.start % TILE_ROWS or (part.stop % TILE_ROWS and part.stop != self.shape[0]):
            raise ValueError(f"tiles of {TILE_ROWS} rows are not cut at {part.start}:{part.stop} along {part.dim}")
        data = self.data[part.start // TILE_ROWS : -(-part.stop // TILE_ROWS)]
        return replace(self, shape=(part.stop - part.start, *self.shape[1:]), data=data)

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

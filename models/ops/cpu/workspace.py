"""Memory for what lives only within a step: given out, taken back when the last tensor over it is gone, and again.

A recorded step keeps its addresses, so this memory is never freed while there are recordings over it. One workspace
serves all of them: steps run one after the other.
"""

import weakref
from bisect import insort
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LINE: Final = 64
_SLAB: Final = 1 << 20


class _Block(NamedTuple):
    """A stretch of a slab."""

    slab: int
    start: int
    size: int


class Workspace:
    """Slabs that never move. What is given back can be given out again, also beside its neighbours."""

    def __init__(self) -> None:
        self._slabs: list[NDArray[np.uint8]] = []
        self._free: list[_Block] = []

    @property
    def nbytes(self) -> int:
        return sum(slab.nbytes for slab in self._slabs)

    def like(self, prototype: Tensor) -> Tensor:
        """A tensor with the shape, strides and dtype of `prototype`, its numbers whatever was there before."""
        span = 1 + sum((size - 1) * step for size, step in zip(prototype.shape, prototype.stride(), strict=True))
        width = prototype.dtype.itemsize
        memory = self._take(max(span, 1) * width)
        return torch.from_numpy(memory).view(prototype.dtype).as_strided(prototype.shape, prototype.stride())

    def lent(self, tensor: Tensor) -> Tensor:
        """The same place in memory, which others may be given once `tensor` itself is gone."""
        address, nbytes = tensor.data_ptr(), tensor.untyped_storage().nbytes()
        for slab in self._slabs:
            start = address - slab.ctypes.data
            if 0 <= start < slab.nbytes:
                memory = torch.from_numpy(slab[start : start + nbytes])
                return memory.view(tensor.dtype).as_strided(tensor.shape, tensor.stride())
        return tensor

    def _take(self, size: int) -> NDArray[np.uint8]:
        """So many bytes; they come back when the array, and every tensor over it, is gone."""
        padded = -(-size // _LINE) * _LINE
        block = self._first_of(padded)
        # A new array object each time: its end is the sign.
        memory = self._slabs[block.slab][block.start : block.start + size]
        weakref.finalize(memory, self._give_back, block).atexit = False
        return memory

    def _first_of(self, size: int) -> _Block:
        for place, block in enumerate(self._free):
            if block.size >= size:
                del self._free[place]
                if block.size > size:
                    self._free.insert(place, _Block(block.slab, block.start + size, block.size - size))
                return _Block(block.slab, block.start, size)
        self._grow(size)
        return self._first_of(size)

    def _grow(self, size: int) -> None:
        whole = max(_SLAB, size)
        memory = np.empty(whole + _LINE, dtype=np.uint8)
        start = -memory.ctypes.data % _LINE
        self._slabs.append(memory[start : start + whole])
        self._free.append(_Block(len(self._slabs) - 1, 0, whole))

    def _give_back(self, block: _Block) -> None:
        insort(self._free, block)
        place = self._free.index(block)
        for first in (place, place - 1):
            if 0 <= first < len(self._free) - 1:
                left, right = self._free[first : first + 2]
                if left.slab == right.slab and left.start + left.size == right.start:
                    self._free[first : first + 2] = [_Block(left.slab, left.start, left.size + right.size)]

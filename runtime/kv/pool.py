"""The tensors that pages stand for: keys and values of every layer, in one allocation.

On a CPU the operating system backs it lazily, page of memory by page of memory, as tokens come; it reads as zeros until
then. Which page is whose is not known here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...models.contract import CacheSpec, PagedLayer

ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class PageLayout:
    """What one page holds: `page_size` tokens of keys and of values, for each of `layers`."""

    page_size: int
    dtype: torch.dtype
    layers: tuple[PagedLayer, ...]

    @classmethod
    def of(cls, spec: CacheSpec, page_size: int, dtype: torch.dtype) -> "PageLayout":
        return cls(page_size, dtype, spec.layers)

    @property
    def page_bytes(self) -> int:
        return self.page_size * self.token_bytes

    @property
    def token_bytes(self) -> int:
        width: int = self.dtype.itemsize
        return 2 * width * sum(layer.kv_heads * layer.head_dim for layer in self.layers)


class KVPool:
    """`pages` pages of `layout` on `device`.

    `keys[layer]` and `values[layer]` are [pages, page_size, kv_heads, head_dim].
    """

    def __init__(self, layout: PageLayout, pages: int, device: torch.device) -> None:
        self.layout = layout
        self.pages = pages
        memory = _zeros(pages * layout.page_bytes, device).view(layout.dtype)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        at = 0
        for layer in layout.layers:
            shape = (pages, layout.page_size, layer.kv_heads, layer.head_dim)
            for part in (self.keys, self.values):
                size = pages * layout.page_size * layer.kv_heads * layer.head_dim
                part.append(memory[at : at + size].view(shape))
                at += size


def _zeros(size: int, device: torch.device) -> Tensor:
    """`size` zero bytes. `torch.zeros` would touch, and so commit, all of them; numpy leaves that to the first use."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=torch.uint8, device=device)
    memory = torch.from_numpy(np.zeros(size + ALIGNMENT, dtype=np.uint8))
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + size]

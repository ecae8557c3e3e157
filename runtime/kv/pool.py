"""The tensors that pages stand for: keys and values of every slot of a page, in one allocation.

Layers that share a slot, each in another group, see the same memory as keys or values of their own shape; a page is
only ever one group's. On a CPU the operating system backs it lazily, page of memory by page of memory, as tokens come;
it reads as zeros until then. Which page is whose is not known here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...models.contract import CacheSpec, PagedLayer
from .groups import Group, group_layers

ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class PageLayout:
    """What one page holds: `page_size` tokens of keys and of values, for the layers of one of `groups`."""

    page_size: int
    dtype: torch.dtype
    layers: tuple[PagedLayer, ...]
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, spec: CacheSpec, page_size: int, dtype: torch.dtype) -> "PageLayout":
        return cls(page_size, dtype, spec.layers, group_layers([layer.window for layer in spec.layers]))

    @property
    def page_bytes(self) -> int:
        return self.page_size * self.token_bytes

    @property
    def token_bytes(self) -> int:
        """Of one token in one page: of the layers of one group."""
        width: int = self.dtype.itemsize
        return 2 * width * sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many numbers a token's keys, or values, take in each slot: what the widest layer there needs."""
        slots = max(len(group.layers) for group in self.groups)
        return tuple(max(self._width(group, slot) for group in self.groups) for slot in range(slots))

    def _width(self, group: Group, slot: int) -> int:
        if slot >= len(group.layers):
            return 0
        layer = self.layers[group.layers[slot]]
        return layer.kv_heads * layer.head_dim


class KVPool:
    """`pages` pages of `layout` on `device`.

    `keys[layer]` and `values[layer]` are [pages, page_size, kv_heads, head_dim], views of the slot that is the layer's.
    """

    def __init__(self, layout: PageLayout, pages: int, device: torch.device) -> None:
        self.layout = layout
        self.pages = pages
        memory = _zeros(pages * layout.page_bytes, device).view(layout.dtype)
        sizes = [pages * layout.page_size * width for width in layout.widths for _ in ("keys", "values")]
        parts = [part.view(pages, layout.page_size, -1) for part in torch.split(memory, sizes)]
        slots = {layer: slot for group in layout.groups for slot, layer in enumerate(group.layers)}
        self.keys = [_as_layer(parts[2 * slots[i]], layer) for i, layer in enumerate(layout.layers)]
        self.values = [_as_layer(parts[2 * slots[i] + 1], layer) for i, layer in enumerate(layout.layers)]


def _as_layer(slot: Tensor, layer: PagedLayer) -> Tensor:
    """A slot [pages, page_size, width] as the keys or values of `layer`, which may need less than its width."""
    used = slot[:, :, : layer.kv_heads * layer.head_dim]
    return used.view(*slot.shape[:2], layer.kv_heads, layer.head_dim)


def _zeros(size: int, device: torch.device) -> Tensor:
    """`size` zero bytes. `torch.zeros` would touch, and so commit, all of them; numpy leaves that to the first use."""
    if device.type != "cpu":
        return torch.zeros(size, dtype=torch.uint8, device=device)
    memory = torch.from_numpy(np.zeros(size + ALIGNMENT, dtype=np.uint8))
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + size]

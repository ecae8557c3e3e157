"""What a page holds, and the memory of all of them: keys and values of every slot, one page behind the other.

A page lies together, so that a slab of pages is one range of memory, and one that is saved is one copy. Layers that
share a slot, each in another group, see the same memory as keys or values of their own shape; a page is only ever one
group's. Which page is whose is not known here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from ...models.contract import CacheSpec, LatentLayer, PagedLayer
from .groups import Group, group_layers
from .memory import Region, reserve
from .moves import Move, moves_of

SLAB_BYTES: Final = 32 << 20
_SCALE: Final = torch.float32  # see reference_attention.quantize
_WORD: Final = 4  # parts of a page begin at multiples of it


@dataclass(frozen=True)
class PageLayout:
    """What one page holds: `page_size` tokens of keys and of values, for the layers of one of `groups`.

    Pages of int8 hold a scale for each token and head beside them. Where all that share a slot keep latents, which are
    keys and values, the slot has one part.
    """

    page_size: int
    dtype: torch.dtype
    layers: tuple[PagedLayer, ...]
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, spec: CacheSpec, page_size: int, dtype: torch.dtype) -> "PageLayout":
        return cls(page_size, dtype, spec.paged, group_layers([layer.window for layer in spec.paged]))

    @cached_property
    def page_bytes(self) -> int:
        """At least a word, so that models without such layers need no other way."""
        return max(sum(self._slot(slot) for slot in range(self.slots)), _WORD)

    @property
    def token_bytes(self) -> int:
        """Of one token in one page: of the layers of one group."""
        return self.page_bytes // self.page_size

    @cached_property
    def slots(self) -> int:
        return max((len(group.layers) for group in self.groups), default=0)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """How many numbers a token's keys, or values, take in each slot: what the widest layer there needs."""
        return tuple(max(layer.kv_heads * layer.head_dim for layer in self._sharing(i)) for i in range(self.slots))

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """How many heads a token has in each slot, at most."""
        return tuple(max(layer.kv_heads for layer in self._sharing(i)) for i in range(self.slots))

    @property
    def has_scales(self) -> bool:
        return self.dtype is torch.int8

    def slot_of(self, layer: int) -> int:
        return next(group.layers.index(layer) for group in self.groups if layer in group.layers)

    def starts(self, slot: int) -> tuple[int, int, int, int]:
        """Where in a page the keys of `slot` begin, its values, the scales of both; in bytes."""
        before = sum(self._slot(i) for i in range(slot))
        numbers, scales = self._numbers(slot), self._scales(slot)
        if self._parts(slot) == 1:
            return before, before, before + numbers, before + numbers
        return before, before + numbers, before + 2 * numbers, before + 2 * numbers + scales

    def _slot(self, slot: int) -> int:
        """Bytes of a slot in a page."""
        return self._parts(slot) * (self._numbers(slot) + self._scales(slot))

    def _parts(self, slot: int) -> int:
        """Keys and values, or what is both."""
        return 1 if all(isinstance(layer, LatentLayer) for layer in self._sharing(slot)) else 2

    def _sharing(self, slot: int) -> Iterator[PagedLayer]:
        return (self.layers[group.layers[slot]] for group in self.groups if slot < len(group.layers))

    def _numbers(self, slot: int) -> int:
        """Bytes of a slot's keys, or values, in a page."""
        return -(-self.page_size * self.widths[slot] * self.dtype.itemsize // _WORD) * _WORD

    def _scales(self, slot: int) -> int:
        return self.page_size * self.heads[slot] * _SCALE.itemsize if self.has_scales else 0


class KVPool:
    """Addresses for `pages` pages of `layout` on `device`; of those that are not committed none may be touched.

    `keys[layer]` and `values[layer]` are [pages + 1, page_size, kv_heads, head_dim], and the scales of int8 pages are
    [pages + 1, page_size, kv_heads], views of the slot that is the layer's. In memory a head's tokens lie one behind
    the other, for whoever attends reads one head after the other. `bytes` is [pages, bytes of a page]. The last page,
    `dump`, is nobody's: there rows of a step write that stand for no sequence.
    """

    def __init__(self, layout: PageLayout, pages: int, device: torch.device) -> None:
        self.layout, self.pages, self.dump = layout, pages, pages
        self._region: Region = reserve((pages + 1) * layout.page_bytes, device)
        self.commit(range(pages, pages + 1))
        self.bytes = self._region.bytes[: pages * layout.page_bytes].view(pages, layout.page_bytes)
        self.moves = moves_of(device)
        self.keys, self.values = self._numbers(0), self._numbers(1)
        self.key_scales, self.value_scales = self._scales(2), self._scales(3)

    @property
    def slab_pages(self) -> int:
        """How many pages come and go together: on a device that cannot part with memory, all."""
        return max(1, SLAB_BYTES // self.layout.page_bytes) if self._region.grows else self.pages

    def commit(self, pages: range) -> None:
        self._region.commit(*self._range(pages))

    def give_back(self, pages: range) -> None:
        self._region.give_back(*self._range(pages))

    @property
    def page_bytes(self) -> int:
        return self.layout.page_bytes

    def save(self, pages: Sequence[int]) -> Move:
        """A copy of these pages in the host's memory."""
        return self.moves.save(self.bytes, pages)

    def bring(self, pages: Sequence[int], saved: Tensor, rows: Sequence[int]) -> Move:
        """Copy `rows` of what was saved back to `pages`."""
        return self.moves.bring(self.bytes, pages, saved, rows)

    def claim(self, pages: Iterable[int]) -> None:
        """Somebody uses these pages from now on: not before copies of them are made."""
        self.moves.claim(pages)

    def _range(self, pages: range) -> tuple[int, int]:
        size = self.layout.page_bytes
        return pages.start * size, pages.stop * size

    def _numbers(self, part: int) -> list[Tensor]:
        """The keys (0) or values (1) of every layer."""
        dtype, tokens = self.layout.dtype, self.layout.page_size
        return [
            self._part(
                i,
                0 if isinstance(layer, LatentLayer) else part,
                dtype,
                (layer.kv_heads, layer.head_dim),
                (layer.head_dim, tokens * layer.head_dim, 1),
            )
            for i, layer in enumerate(self.layout.layers)
        ]

    def _scales(self, part: int) -> list[Tensor | None]:
        """The scales of keys (2) or values (3) of every layer, where there are any."""
        if not self.layout.has_scales:
            return [None] * len(self.layout.layers)
        return [
            self._part(i, 2 if isinstance(layer, LatentLayer) else part, _SCALE, (layer.kv_heads,), (layer.kv_heads, 1))
            for i, layer in enumerate(self.layout.layers)
        ]

    def _part(
        self, layer: int, part: int, dtype: torch.dtype, shape: tuple[int, ...], steps: tuple[int, ...]
    ) -> Tensor:
        """A part of its slot as a layer sees it: [pages, page_size, *shape], which may be less than is there."""
        layout = self.layout
        memory = self._region.bytes[: (self.pages + 1) * layout.page_bytes].view(dtype)
        start = layout.starts(layout.slot_of(layer))[part] // dtype.itemsize
        whole = (layout.page_bytes // dtype.itemsize, *steps)
        return memory.as_strided((self.pages + 1, layout.page_size, *shape), whole, start)

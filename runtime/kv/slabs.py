"""The pages that nobody owns, and the slabs they come in.

A pool's pages are numbered once, for as large as it may ever be, and are there a slab at a time: the first from the
start, the others when they are needed and the budget has bytes left. The lowest page is always handed out first, so
that high slabs empty first; a slab of which no page is owned can be given back. Pages are numbers here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from ..errors import NotEnoughMemory, RuntimeFault
from .budget import Holder, MemoryBudget


class Ground(Protocol):
    """What pages stand on: their memory comes and goes by ranges of pages."""

    def commit(self, pages: range) -> None: ...
    def give_back(self, pages: range) -> None: ...


class Slabs:
    """Up to `most` pages of `page_bytes`, `size` to a slab, paid for from `budget`. Tells `ground` of what it has."""

    def __init__(
        self,
        most: int,
        size: int,
        *,
        page_bytes: int = 0,
        budget: MemoryBudget | None = None,
        ground: Ground | None = None,
    ) -> None:
        self.most, self.size, self.page_bytes = most, min(size, most), page_bytes
        self.budget = budget or MemoryBudget(max(most * page_bytes, 1))
        self.pages = 0
        self._ground = ground
        self._missing = list(range(-(-most // self.size)))
        self._free: list[int] = []
        self._refused = False  # the last slab that was asked for, though it was paid for

    @classmethod
    def whole(cls, pages: int) -> "Slabs":
        """All of them, from the start and for ever."""
        slabs = cls(pages, pages)
        slabs.grow(pages)
        return slabs

    def __len__(self) -> int:
        return len(self._free)

    def __iter__(self) -> Iterator[int]:
        return iter(self._free)

    @property
    def held(self) -> int:
        return self.pages * self.page_bytes

    @property
    def count(self) -> int:
        """Slabs that there are."""
        return -(-self.most // self.size) - len(self._missing)

    @property
    def obtainable(self) -> int:
        """Pages that the budget would still pay for; none where there was no memory for them."""
        return 0 if self._refused else self._affordable(self.budget.left)

    def start(self, holder: Holder) -> None:
        """Hold the first slab on behalf of `holder`. Raises `NotEnoughMemory` where even that is too much."""
        self.budget.join(holder)
        if not self.grow(1):
            needed = len(self._range(0)) * self.page_bytes
            self.budget.ask(needed, holder)
            if not self.grow(1):
                raise NotEnoughMemory(needed, max(self.budget.left, 0), "the first part of the cache")

    def take(self, count: int) -> list[int]:
        """The lowest `count` pages, which are there."""
        return [heappop(self._free) for _ in range(count)]

    def give(self, pages: Iterable[int]) -> None:
        """Take back what nobody owns any more. There may be memory again for more."""
        for page in pages:
            self._refused = False
            heappush(self._free, page)

    def grow(self, wanted: int) -> bool:
        """See that `wanted` pages are free, a slab after the other, while the budget pays and there is memory."""
        while len(self._free) < wanted and self._missing:
            slab = self._range(self._missing[0])
            if len(slab) * self.page_bytes > self.budget.left:
                return False
            if self._ground is not None and not self._commits(slab, self._ground):
                return False
            del self._missing[0]
            self._free += slab
            heapify(self._free)
            self.pages += len(slab)
        return len(self._free) >= wanted

    def _commits(self, slab: range, ground: Ground) -> bool:
        try:
            ground.commit(slab)
        except (RuntimeFault, MemoryError, OSError):
            self._refused = True
        return not self._refused

    def ask(self, wanted: int, holder: Holder) -> None:
        """Let other holders part with memory for `wanted` more pages than there are free, or are to be had."""
        short = wanted - len(self._free)
        missing = [len(self._range(slab)) for slab in self._missing[: -(-short // self.size)]]
        if short > 0 and missing:
            self.budget.ask(sum(missing) * self.page_bytes, holder)

    def shrink(self, size: int) -> int:
        """Give back up to `size` bytes and a slab more, of slabs of which no page is owned; how many bytes it were."""
        given = 0
        for slab in self.empty:
            if given >= size:
                break
            pages = self._range(slab)
            self._free = [page for page in self._free if page not in pages]
            heapify(self._free)
            if self._ground is not None:
                self._ground.give_back(pages)
            self._missing.append(slab)
            self.pages -= len(pages)
            given += len(pages) * self.page_bytes
        self._missing.sort()
        return given

    @property
    def empty(self) -> list[int]:
        """Slabs of which no page is owned, the highest first. The last one that there is stays."""
        counts = Counter(page // self.size for page in self._free)
        found = sorted((slab for slab, count in counts.items() if count == len(self._range(slab))), reverse=True)
        return found[: self.count - 1]

    def check(self) -> None:
        """Raise `AssertionError` unless what is free lies in slabs that there are."""
        there = self.everything
        if len(there) != self.pages or not there.issuperset(self._free):
            raise AssertionError("a free page lies in no slab")

    @property
    def everything(self) -> set[int]:
        """Every page that there is, whoever owns it."""
        slabs = set(range(-(-self.most // self.size))) - set(self._missing)
        return {page for slab in slabs for page in self._range(slab)}

    def _affordable(self, left: int) -> int:
        """Pages of the slabs that `left` bytes pay for, the lowest first."""
        if not self.page_bytes:
            return self.most - self.pages
        whole = min(len(self._missing), left // (self.size * self.page_bytes))
        rest = self.most - self.pages - whole * self.size
        fits = whole == len(self._missing) - 1 and rest * self.page_bytes <= left - whole * self.size * self.page_bytes
        return min(whole * self.size + (rest if fits else 0), self.most - self.pages)

    def _range(self, slab: int) -> range:
        return range(slab * self.size, min((slab + 1) * self.size, self.most))

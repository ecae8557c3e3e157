"""One group's pages in the prefix cache: which page stands for which entry, and which of them nobody needs now.

An entry is a page's worth of tokens behind all that came before, known to the prefixes by a number. With full attention
whoever holds a prefix needs every page of it, and the prefixes count that. With a window a lease needs only the last
ones, and keeps those by itself: what every lease has left behind may go while its prefix stays.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator


class CachedPages:
    """`pages` by entry. `idle` are those that no window reaches, with the time at which the last one left them."""

    def __init__(self, window: int | None, clock: Iterator[int]) -> None:
        self.window = window
        self.pages: dict[int, int] = {}
        self.keeps: dict[int, int] = {}  # how many leases need the page; not counted without a window
        self.idle: OrderedDict[int, int] = OrderedDict()  # longest ago first
        self._clock = clock

    @property
    def oldest(self) -> int | None:
        """When the page was left that `evict` would take."""
        return next(iter(self.idle.values())) if self.idle else None

    def add(self, entry: int, page: int) -> int:
        """The page that stands for `entry`: the one that is there already, or else `page`."""
        return self.pages.setdefault(entry, page)

    def keep(self, entries: Iterable[int]) -> None:
        """A lease needs their pages, which are there, until it lets them go."""
        if self.window is None:
            return
        for entry in entries:
            count = self.keeps.get(entry, 0)
            self.keeps[entry] = count + 1
            if not count:
                self.idle.pop(entry, None)

    def let_go(self, entries: Iterable[int]) -> None:
        if self.window is None:
            return
        for entry in entries:
            self.keeps[entry] -= 1
            if not self.keeps[entry]:
                del self.keeps[entry]
                self.idle[entry] = next(self._clock)

    def evict(self) -> int:
        """The page that was left longest ago, no longer found."""
        entry, _ = self.idle.popitem(last=False)
        return self.pages.pop(entry)

    def forget(self, entries: Iterable[int]) -> list[int]:
        """The pages of entries that the prefixes no longer know and nobody needs."""
        gone = [entry for entry in entries if entry in self.pages]
        for entry in gone:
            self.idle.pop(entry, None)
        return [self.pages.pop(entry) for entry in gone]

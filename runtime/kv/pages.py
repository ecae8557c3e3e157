"""Who owns which page.

A page belongs to a lease (one sequence's), to the prefix cache (a radix tree or a hash table), or to the free list, and
the three always add up to all pages; `check` proves it. Pages are numbers here: what lies in them is the pool's
business. Layers that see equally far share a page, so that a sequence has a table for each such group: with full
attention all its pages, with a window those that its next token sees and what comes behind.

Pages come from slabs, the lowest first: one that is free, then one of a new slab while the budget has bytes left, then
one that is evicted here, then what other engines that share the budget can part with. Who still gets none gives way.
Of what is evicted, what was last needed longest ago goes first: the last page of a prefix that nobody holds, in all
groups, or a page that every window has left. Both come from the head of a line; nothing is searched. The pages that a
finished sequence still had in its windows were needed later than its prefix, so they go with it, not before.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import count
from sys import maxsize
from typing import Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

from .audit import audit
from .cached import CachedPages
from .groups import most_places, pages_needed, tokens_in
from .hashed import HashedPrefixes
from .lease import Lease, Table
from .prefixes import Prefixes
from .radix import Node, RadixTree
from .slabs import Slabs
from .slots import STRIDE, StateRows

__all__ = ["Lease", "PageCache", "Prefixes", "Sharing", "Table"]

P = ParamSpec("P")
R = TypeVar("R")
Sharing: TypeAlias = Literal["radix", "hash", "off"]


def _locked(method: Callable[Concatenate["PageCache", P], R]) -> Callable[Concatenate["PageCache", P], R]:
    """Under the lock of the budget: another engine may be asking for what is idle here."""

    @wraps(method)
    def held(self: "PageCache", /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.slabs.budget.lock:
            return method(self, *args, **kwargs)

    return held


class PageCache:
    """Hands out pages, finds prefixes that are already computed, and takes the oldest back when pages run out.

    `windows` has an entry for each group of layers: how many tokens they see, or None for all. With `state_rows` there
    are recurrent layers too: a prefix is then found up to a snapshot of their state.
    """

    def __init__(
        self,
        pages: int | Slabs,
        page_size: int,
        *,
        windows: Sequence[int | None] = (None,),
        sharing: Sharing = "radix",
        state_rows: int = 0,
    ) -> None:
        clock = count(1)
        self.slabs = pages if isinstance(pages, Slabs) else Slabs.whole(pages)
        self.page_size = page_size
        self.prefixes: Prefixes = (HashedPrefixes if sharing == "hash" else RadixTree)(page_size, clock)
        self.groups = [CachedPages(window, clock) for window in windows]
        self.states = StateRows(state_rows, clock) if state_rows else None
        self.evicted = 0
        self._windows = tuple(windows)
        self._windowed = [group for group in self.groups if group.window is not None]
        self._share = sharing != "off"
        self._entries = count()
        self.slabs.start(self)

    @property
    def pages(self) -> int:
        """As many as there may ever be; a free one may lie in a slab that is still to come."""
        return self.slabs.most

    @property
    def free(self) -> int:
        return self.slabs.most - self.slabs.pages + len(self.slabs)

    @property
    def idle(self) -> int:
        """Pages of the prefix cache that nobody needs now."""
        full = len(self.groups) - len(self._windowed)
        return full * self.prefixes.idle + sum(len(group.idle) for group in self._windowed)

    @property
    def held(self) -> int:
        """Bytes of the budget."""
        return self.slabs.held

    @property
    def must_yield(self) -> bool:
        """Another engine waits for memory with nothing to run: what runs here goes on, and nothing new is let in."""
        return self.slabs.budget.is_wanted(self)

    @property
    def cached(self) -> int:
        """Pages of the prefix cache, held or not."""
        return sum(len(group.pages) for group in self.groups)

    @property
    def shares(self) -> bool:
        """Whether what one sequence computed serves others."""
        return self._share

    @property
    def available(self) -> int:
        """Pages that a lease could get: free ones, those that the budget has left, and those of prefixes not needed."""
        return len(self.slabs) + self.slabs.obtainable + self.idle

    @property
    def capacity(self) -> int:
        """Tokens that fit when one sequence has every page; `sys.maxsize` where windows make that all there are."""
        return tokens_in(self._windows, self.page_size, self.pages)

    def pages_for(self, tokens: int) -> int:
        """Places of `tokens` tokens: pages in each group, where nothing has left a window."""
        return -(-tokens // self.page_size)

    def needed(self, tokens: int) -> int:
        """Pages without which a sequence of `tokens` tokens cannot be, one token computed after the other."""
        return pages_needed(self._windows, self.page_size, tokens)

    @_locked
    def lease(self, tokens: Sequence[int], *, reusable: int, spare: int = 0) -> Lease | None:
        """Pages for all of `tokens`, or None when there are not enough with `spare` more left over.

        Where a group has a window these are as many as it can reach over; `make_room` moves them on. At most the first
        `reusable` tokens are taken from what is already computed: `shared` pages of them.
        """
        node, entries = self._match(tokens, reusable)
        lease = self._stand_on(node, entries)
        places = self.pages_for(len(tokens))
        stops = [
            min(places, table.first + most_places(window, self.page_size))
            for window, table in zip(self._windows, lease.tables, strict=True)
        ]
        if not self._affords(sum(stops) - len(stops) * lease.shared + spare) or not self._add_state(lease):
            self.release(lease)
            return None
        self._extend(lease, stops)
        return lease

    @_locked
    def make_room(self, lease: Lease, start: int, stop: int, *, spare: int = 0) -> int:
        """Let windows move on to token `start`, the next one, and see that tokens before `stop` have a place.

        Returns how many tokens have one. There may be none for any new one; more than a page's worth of them is given
        only where `spare` pages are left over.
        """
        if self._windowed:
            self._leave_behind(lease, start)
        places, least = self.pages_for(stop), start // self.page_size + 1
        while (wanted := _missing(lease, places)) and not self._affords(wanted + (spare if places > least else 0)):
            places -= 1
        if wanted:
            self._extend(lease, [max(places, table.stop) for table in lease.tables])
        return lease.room

    def grow(self, lease: Lease) -> bool:
        """Room for another page's worth of tokens in `lease`, nothing left behind; False when there is none."""
        room = lease.room
        return self.make_room(lease, 0, room + 1) > room

    def unseen(self, lease: Lease, start: int) -> list[range]:
        """In each group the places that token `start` sees, or that lie before it on its own page, and `lease` has not
        got from the prefix cache.
        """
        stop = self.pages_for(start)
        return [range(max(self._first_seen(group.window, start), lease.shared), stop) for group in self.groups]

    def covers(self, lease: Lease, start: int) -> bool:
        """Whether everything that token `start` sees is still in `lease`."""
        return all(
            table.first <= self._first_seen(group.window, start)
            for group, table in zip(self.groups, lease.tables, strict=True)
        )

    @_locked
    def commit(self, lease: Lease, tokens: Sequence[int], computed: int) -> None:
        """Give the prefix cache the pages that the first `computed` of `tokens` fill, for others to share."""
        full = computed // self.page_size
        if not self._share or full <= lease.shared:
            return
        names = [next(self._entries) for _ in range(lease.shared, full)]
        node, entries = self.prefixes.extend(lease.node, tokens, lease.shared, names)
        self.prefixes.hold(node)
        self.prefixes.release(lease.node)
        for group, table in zip(self.groups, lease.tables, strict=True):
            self._donate(group, table, entries, lease)
        lease.node = node
        lease.entries += entries
        if len(self._windowed) == len(self.groups):
            self._forget_spent()

    @_locked
    def keep_state(self, lease: Lease, tokens: Sequence[int], computed: int, *, ends_chunk: bool) -> None:
        """Note that the recurrent state behind `computed` tokens was written. At the end of a page, of a chunk's last
        one or of every so many, a snapshot of it is kept for others.
        """
        if self.states is None or lease.state is None:
            return
        self.states.advance(lease.state)
        if computed % (self.page_size if ends_chunk else STRIDE * self.page_size):
            return
        self.commit(lease, tokens, computed)
        if lease.entries and lease.shared * self.page_size == computed:
            self.states.snapshot(lease.state, lease.entries[-1])

    @_locked
    def shorten(self, lease: Lease, places: int) -> None:
        """Take back all but the first `places` places of `lease`, which are not fewer than it shares."""
        for table in lease.tables:
            self.slabs.give(table.cut(places))
        lease.room = self._room(lease)

    @_locked
    def release(self, lease: Lease) -> None:
        """End `lease`: its own pages are free again, the prefix cache keeps what was committed."""
        self.prefixes.release(lease.node)
        for group, table in zip(self.groups, lease.tables, strict=True):
            group.let_go(table.shared(lease.entries))
            self.slabs.give(table.own(lease.shared))
        if self.states is not None and lease.state is not None:
            self.states.release(lease.state)
        lease.state = None
        lease.node, lease.entries, lease.room = self.prefixes.root, [], 0
        lease.tables = tuple(Table() for _ in self.groups)

    @_locked
    def discard(self, lease: Lease) -> None:
        """End `lease` and forget what it shared with nobody: its contents are not to be trusted."""
        node = lease.node
        self.release(lease)
        self.slabs.give(self._forget(self.prefixes.drop(node)))

    @_locked
    def give_back(self, size: int) -> int:
        """Part with about `size` bytes for another engine: slabs of which no page is owned, then such as come free when
        prefixes that nobody holds are evicted, in their order. How many bytes it were.
        """
        given = self.slabs.shrink(size)
        while given < size and self.idle and self.slabs.count > 1:
            self._make_free(self.slabs.size)
            given += self.slabs.shrink(size - given)
        return given

    def starve(self, seconds: float) -> bool:
        """Nothing can run for want of memory that others hold: wait until some comes free. False when none has."""
        self.slabs.budget.starves(self, True)
        return self.slabs.budget.wait(seconds)

    def recover(self) -> None:
        """Something runs here, and will part with pages when it has ended."""
        self.slabs.budget.starves(self, False)
        self.slabs.budget.note_change()

    def check(self, leases: Iterable[Lease]) -> None:
        """Raise `AssertionError` unless every page has exactly one owner and the counts of what is shared are true."""
        audit(self, list(leases))

    def _match(self, tokens: Sequence[int], reusable: int) -> tuple[Node, list[int]]:
        """The longest known prefix that has all a token behind it sees."""
        node, entries = self.prefixes.match(tokens, reusable // self.page_size if self._share else 0)
        usable = self._usable(entries)
        return (node, entries) if usable == len(entries) else self.prefixes.match(tokens, usable)

    def _usable(self, entries: list[int]) -> int:
        """How many of `entries` there are up to one behind which no window has a hole."""
        stop, again = len(entries), bool(self._windowed) or self.states is not None
        reached = [stop] * len(self._windowed)  # from where on each group has all
        while again:
            again = False
            for number, group in enumerate(self._windowed):
                first, place = self._first_seen(group.window, stop * self.page_size), min(reached[number], stop)
                while place > first and entries[place - 1] in group.pages:
                    place -= 1
                reached[number] = place
                if place > first:
                    stop, again = place - 1, True
            kept = self._snapshot_before(entries, stop)
            stop, again = kept, again or kept < stop
        return stop

    def _snapshot_before(self, entries: list[int], stop: int) -> int:
        """How many of the first `stop` entries there are up to one with a snapshot, where there must be one."""
        while self.states is not None and stop and entries[stop - 1] not in self.states.snapshots.pages:
            stop -= 1
        return stop

    def _add_state(self, lease: Lease) -> bool:
        """Rows for the recurrent state behind what `lease` stands on; False when there are none."""
        if self.states is None:
            return True
        lease.state = self.states.lease(lease.entries[-1] if lease.entries else None)
        return lease.state is not None

    def _stand_on(self, node: Node, entries: list[int]) -> Lease:
        """A lease of what `node` stands for, and of nothing more."""
        self.prefixes.hold(node)
        tables = []
        for group in self.groups:
            first = self._first_seen(group.window, len(entries) * self.page_size)
            group.keep(entries[first:])
            tables.append(Table([group.pages[entry] for entry in entries[first:]], first))
        return Lease(node, entries, tuple(tables), len(entries) * self.page_size)

    def _leave_behind(self, lease: Lease, start: int) -> None:
        """Part with pages that token `start` does not see any more."""
        for group, table in zip(self.groups, lease.tables, strict=True):
            first = min(self._first_seen(group.window, start), table.stop)
            if first <= table.first:
                continue
            group.let_go(lease.entries[table.first : first])
            self.slabs.give(table.pages[max(lease.shared - table.first, 0) : first - table.first])
            del table.pages[: first - table.first]
            table.first = first

    def _extend(self, lease: Lease, stops: Sequence[int]) -> None:
        """Pages up to these places, of which the caller has seen that they are available."""
        for table, stop in zip(lease.tables, stops, strict=True):
            if wanted := stop - table.stop:
                table.pages += self._take(wanted)
        lease.room = self._room(lease)
        lease.changed = True

    def _room(self, lease: Lease) -> int:
        """How many tokens have a place in every group; recurrent layers need none."""
        return self.page_size * min((table.stop for table in lease.tables), default=maxsize)

    def _donate(self, group: CachedPages, table: Table, entries: list[int], lease: Lease) -> None:
        """Let the pages of `table` stand for `entries`, which come behind those of `lease`."""
        start = max(lease.shared, table.first)
        kept = entries[start - lease.shared :]
        for place, entry in enumerate(kept, start - table.first):
            mine = table.pages[place]
            table.pages[place] = group.add(entry, mine)
            if table.pages[place] != mine:
                self.slabs.give([mine])
                table.written = min(table.written, start)
                lease.changed = True
        group.keep(kept)

    def _affords(self, pages: int) -> bool:
        """Whether so many can be had, if need be from other engines that share the budget."""
        if pages <= len(self.slabs):
            return True
        if pages > self.available:
            self.slabs.ask(pages - self.idle, self)
        self.slabs.grow(min(pages, self.available) - self.idle)  # what was paid for may not be there after all
        return pages <= self.available

    def _take(self, wanted: int) -> list[int]:
        """`wanted` pages, the caller having seen that they are available. A pool fills from its start."""
        self.slabs.grow(wanted)
        while (short := wanted - len(self.slabs)) > 0:
            self._make_free(short)
        return self.slabs.take(wanted)

    def _make_free(self, wanted: int) -> None:
        """Some of the `wanted` pages are nobody's any more."""
        evicted = self._evict(wanted)
        self.evicted += len(evicted)
        self.slabs.give(evicted)

    def _evict(self, wanted: int) -> list[int]:
        """Some of the `wanted` pages, of those that were needed longest ago."""
        if not self._windowed:
            return self._forget(self.prefixes.evict(-(-wanted // len(self.groups))))
        ages = [(group.oldest, group) for group in self._windowed]
        left = min(((age, group) for age, group in ages if age is not None), key=lambda one: one[0], default=None)
        oldest = self.prefixes.oldest
        if left is not None and (oldest is None or left[0] < oldest):
            return [left[1].evict()]
        return self._forget(self.prefixes.evict(1))

    def _forget(self, entries: list[int]) -> list[int]:
        if self.states is not None:
            self.states.forget(entries)
        return [page for group in self.groups for page in group.forget(entries)]

    def _forget_spent(self) -> None:
        """Where all groups have windows, prefixes may outlive their pages: not by more than there are pages, or as many
        as snapshots reach over.
        """
        rows = 0 if self.states is None else self.states.rows
        spent = self.prefixes.pages - 2 * (self.pages + STRIDE * rows)
        if spent > 0:
            gone = self._forget(self.prefixes.evict(spent))
            self.evicted += len(gone)
            self.slabs.give(gone)

    def _first_seen(self, window: int | None, token: int) -> int:
        """The first place that `token` sees."""
        return 0 if window is None else max(token - window + 1, 0) // self.page_size


def _missing(lease: Lease, places: int) -> int:
    return sum([max(places - table.stop, 0) for table in lease.tables])

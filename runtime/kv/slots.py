"""Rows of recurrent state: two for each running sequence, and snapshots of states at the ends of pages.

A step reads one row of a sequence and writes the other, so that a step computed again finds what it found before. A
snapshot is a row that stays as it is, found by its entry of the prefix cache: the state behind all the tokens up to
there. Whoever begins behind a prefix reads the snapshot's row first, and writes its own. What was needed longest ago
goes first when rows run out. Rows are numbers here; `states.py` has the tensors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .cached import CachedPages

STRIDE: Final = 16  # pages from one snapshot of a long sequence to the next
LEAST: Final = 3  # rows: a sequence's two, and the snapshot that it goes on behind


@dataclass(slots=True, eq=False)
class StateLease:
    """The rows of one sequence: the next step reads `source` and writes `target`.

    `source` is None for a sequence that begins. Until it has run once it may be the snapshot of `entry`.
    """

    spare: int
    target: int
    source: int | None = None
    entry: int | None = None
    own: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.own = [self.spare, self.target]


class StateRows:
    """Who owns which of `rows` rows: a sequence, a snapshot, or nobody."""

    def __init__(self, rows: int, clock: Iterator[int]) -> None:
        self.rows = rows
        self.snapshots = CachedPages(0, clock)
        self.taken_back = 0
        self._free = list(range(rows))[::-1]

    @property
    def available(self) -> int:
        return len(self._free) + len(self.snapshots.idle)

    def lease(self, entry: int | None) -> StateLease | None:
        """Rows for a sequence that goes on behind the snapshot of `entry`, or begins; None when there are not two."""
        kept = [] if entry is None else [entry]
        self.snapshots.keep(kept)
        if self.available < 2:
            self.snapshots.let_go(kept)
            return None
        source = None if entry is None else self.snapshots.pages[entry]
        return StateLease(self._take(), self._take(), source, entry)

    def advance(self, lease: StateLease) -> None:
        """The target was written: the next step reads it."""
        self._leave_snapshot(lease)
        written = lease.target
        lease.target = next(row for row in lease.own if row != written)
        lease.source = written

    def snapshot(self, lease: StateLease, entry: int) -> None:
        """Keep what `lease` reads next as the state behind `entry`, if a row can be had for it."""
        source = lease.source
        if source not in lease.own or entry in self.snapshots.pages or not self.available:
            return
        self.snapshots.add(entry, source)
        self.snapshots.keep([entry])
        lease.own = [lease.target, self._take()]
        lease.entry = entry

    def release(self, lease: StateLease) -> None:
        self._leave_snapshot(lease)
        self._free += lease.own
        lease.own = []

    def forget(self, entries: Iterable[int]) -> None:
        """The prefixes no longer know these entries."""
        self._free += self.snapshots.forget(entries)

    def check(self, leases: Sequence[StateLease]) -> None:
        """Raise `AssertionError` unless every row has one owner and the counts of snapshots are true."""
        owned = [row for lease in leases for row in lease.own]
        everything = sorted([*self._free, *owned, *self.snapshots.pages.values()])
        keeps = [lease.entry for lease in leases if lease.entry is not None]
        if everything != list(range(self.rows)):
            raise AssertionError("a row of states has no owner, or two")
        if sorted(keeps) != sorted(entry for entry, count in self.snapshots.keeps.items() for _ in range(count)):
            raise AssertionError("a snapshot is kept by another number of leases than there are")
        if any(lease.target not in lease.own or lease.source == lease.target for lease in leases):
            raise AssertionError("a step would write what it reads, or what is not its own")

    def _leave_snapshot(self, lease: StateLease) -> None:
        if lease.entry is not None:
            self.snapshots.let_go([lease.entry])
            lease.entry = None

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self.taken_back += 1
        return self.snapshots.evict()

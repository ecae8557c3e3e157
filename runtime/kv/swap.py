"""Pages of sequences that gave way, copied to ordinary memory until they come back.

What a sequence leaves behind stays in the prefix cache until others need it; what is gone by the time it comes back is
computed again, or else copied back from here. Which of the two is cheaper is judged when it gives way, from how fast
pages were copied and prompts computed so far. On a device this is the host's memory. On a CPU it is the same kind of
memory as the pool's, beside it: worth having as a short loan, since a quarter of the pool's size, and that only while
somebody waits, spares computing whole prompts again.

What is kept is checked when it comes back: a copy that is not what was saved, or that cannot be made, is as good as
none. Pages are bytes here; how they cross, and what waits for them meanwhile, is not known.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from zlib import crc32

from .lease import Lease, Table

if TYPE_CHECKING:
    from torch import Tensor

    from .moves import Mark, Move

_LOG = logging.getLogger(__name__)
_COPY_SPEED: Final = 1e9  # bytes a second, until it is measured


class Pages(Protocol):
    """The pool: copies pages of `page_bytes` to the host's memory, and back."""

    @property
    def page_bytes(self) -> int: ...
    def save(self, pages: Sequence[int]) -> "Move": ...
    def bring(self, pages: Sequence[int], saved: "Tensor", rows: Sequence[int]) -> "Move": ...


class Judge(Protocol):
    """Says whether to keep `size` bytes, rather than to compute `tokens` again."""

    def keeps(self, size: int, tokens: int) -> bool: ...
    def copied(self, size: int, seconds: float) -> None: ...
    def computed(self, tokens: int, seconds: float) -> None: ...


class Measured:
    """The cheaper way, from what copies and prompts have cost so far; nothing is kept before a prompt was timed."""

    def __init__(self) -> None:
        self._copies, self._prompts = [0.0, 0.0], [0.0, 0.0]

    def copied(self, size: int, seconds: float) -> None:
        self._copies = [self._copies[0] + size, self._copies[1] + seconds]

    def computed(self, tokens: int, seconds: float) -> None:
        self._prompts = [self._prompts[0] + tokens, self._prompts[1] + seconds]

    def keeps(self, size: int, tokens: int) -> bool:
        """There and back, against computing all of what nobody else holds."""
        known, copying = self._copies
        a_byte = copying / known if known else 1 / _COPY_SPEED
        prompt, computing = self._prompts
        return prompt > 0 and 2 * size * a_byte < tokens * computing / prompt


@dataclass(frozen=True, slots=True)
class Saved:
    """The first `computed` tokens of `sequence`: from each group the pages of `places`, one behind the other."""

    sequence: int
    computed: int
    places: tuple[range, ...]
    data: "Tensor"  # [pages, bytes of a page] uint8
    digest: int | None = None  # of what was there at once; reading later copies would cost more than making them

    @property
    def is_whole(self) -> bool:
        return self.digest is None or _digest(self.data) == self.digest

    def reaches(self, computed: int, wanted: Sequence[range]) -> bool:
        """Whether all of the `wanted` places are here, and as they were when `computed` tokens were."""
        within = all(
            not want or (want[0] in here and want[-1] in here) for want, here in zip(wanted, self.places, strict=True)
        )
        return computed <= self.computed and within

    def row(self, group: int, place: int) -> int:
        return sum(len(places) for places in self.places[:group]) + place - self.places[group].start


class Swap:
    """Keeps at most `most` bytes of copies of `pages`; `out` and `back` count sequences."""

    def __init__(self, pages: Pages, page_size: int, most: int, judge: Judge | None = None) -> None:
        self.out = self.back = self.broken = self.held = 0
        self.judge = judge or Measured()
        self._pages, self._page_size, self._most = pages, page_size, most
        self._saved: dict[int, Saved] = {}
        self._copying: deque[tuple[int, Mark]] = deque()  # no memory: what is dropped shall go

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._saved

    @property
    def sequences(self) -> Iterable[int]:
        """Those that something is kept of."""
        return self._saved.keys()

    def save(self, sequence: int, lease: Lease, computed: int) -> bool:
        """Keep the pages of the first `computed` tokens, where that is cheaper than computing them and there is room.

        Pages that others hold too are not copied: they stay.
        """
        kept = sum(len(node.pages) for node in lease.node.path() if node.holds > 1)
        stop = -(-computed // self._page_size)
        places = tuple(
            range(max(table.first, kept), max(min(table.stop, stop), table.first, kept)) for table in lease.tables
        )
        size = sum(len(each) for each in places) * self._pages.page_bytes
        lost = computed - kept * self._page_size
        if not size or self.held + size > self._most or not self.judge.keeps(size, lost):
            return False
        try:
            self._saved[sequence] = self._copy(sequence, lease.tables, places, computed)
        except Exception as error:  # a door: nobody depends on a copy, so nobody shall end with it
            self._warn("cannot be saved", sequence, error)
            return False
        self.held += size
        self.out += 1
        return True

    def find(self, sequence: int) -> Saved | None:
        """What was kept of `sequence`, if it still is what it was."""
        saved = self._saved.get(sequence)
        if saved is None or saved.is_whole:
            return saved
        self._warn("are damaged", sequence)
        self.drop(sequence)
        return None

    def restore(self, saved: Saved, tables: Sequence[Table], wanted: Sequence[range]) -> bool:
        """Copy the `wanted` places back to the pages that stand in `tables` now; False where that failed."""
        rows, pages = [], []
        for group, (table, places) in enumerate(zip(tables, wanted, strict=True)):
            rows += [saved.row(group, place) for place in places]
            pages += [table.pages[place - table.first] for place in places]
        try:
            move = self._pages.bring(pages, saved.data, rows)
        except Exception as error:  # a door, as above
            self._warn("cannot be brought back", saved.sequence, error)
            return False
        self._time(len(rows), move)
        self.back += 1
        return True

    def drop(self, sequence: int) -> None:
        """Keep nothing of `sequence` any more, if anything was."""
        saved = self._saved.pop(sequence, None)
        if saved is not None:
            self.held -= saved.data.nbytes

    def _time(self, pages: int, move: "Move") -> None:
        """Have the judge know what copies cost, as soon as they are made."""
        self._copying.append((pages, move.mark))
        while self._copying and (seconds := self._copying[0][1].seconds) is not None:
            self.judge.copied(self._copying.popleft()[0] * self._pages.page_bytes, seconds)

    def _warn(self, what: str, sequence: int, error: Exception | None = None) -> None:
        self.broken += 1
        _LOG.warning("pages of sequence %d %s: its tokens are computed again", sequence, what, exc_info=error)

    def _copy(self, sequence: int, tables: Sequence[Table], places: tuple[range, ...], computed: int) -> Saved:
        pages = [table.pages[place - table.first] for table, each in zip(tables, places, strict=True) for place in each]
        move = self._pages.save(pages)
        self._time(len(pages), move)
        return Saved(sequence, computed, places, move.data, _digest(move.data) if move.is_done else None)


def _digest(data: "Tensor") -> int:
    return crc32(data.numpy().data)

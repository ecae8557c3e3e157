"""What one sequence has of the pages: a table for each group, and the shared prefix that it stands on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .radix import Node
from .slots import StateLease


@dataclass(slots=True, eq=False)
class Table:
    """The pages of one group: `pages[i]` holds the tokens of place `first + i`. Those before have left the window.

    `written` is up to which place the holder's page table shows it; whatever changes below takes that back.
    """

    pages: list[int] = field(default_factory=list)
    first: int = 0
    written: int = 0

    @property
    def stop(self) -> int:
        return self.first + len(self.pages)

    def own(self, shared: int) -> list[int]:
        """The pages behind the first `shared` places."""
        return self.pages[max(shared - self.first, 0) :]

    def shared(self, entries: Sequence[int]) -> Sequence[int]:
        """Those of the `entries` of a prefix whose pages are here."""
        return entries[self.first : self.stop]

    def cut(self, stop: int) -> list[int]:
        """Take back the pages from place `stop` on."""
        at = max(stop - self.first, 0)
        gone = self.pages[at:]
        del self.pages[at:]
        self.written = min(self.written, self.first + at)
        return gone


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence. Places of `entries` are the prefix cache's, down to `node`; the others are its own.

    Its first `room` tokens have a place each. `changed` says that tables are ahead of what their holder has written.
    `state` are its rows of recurrent state, where the model has such.
    """

    node: Node
    entries: list[int]
    tables: tuple[Table, ...]
    room: int = 0
    changed: bool = True
    state: StateLease | None = None

    @property
    def shared(self) -> int:
        return len(self.entries)

    @property
    def pages(self) -> list[int]:
        """All of them, group by group."""
        return [page for table in self.tables for page in table.pages]

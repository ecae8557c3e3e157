"""The proof that pages add up, for tests and for whoever doubts it: every page has one owner, every count is true."""

from collections.abc import Iterable
from typing import Protocol

from .cached import CachedPages
from .lease import Lease
from .prefixes import Prefixes
from .slabs import Slabs
from .slots import StateRows


class Books(Protocol):
    """What a page cache shows of itself."""

    page_size: int
    slabs: Slabs
    prefixes: Prefixes
    groups: list[CachedPages]
    states: StateRows | None


def audit(books: Books, leases: list[Lease]) -> None:
    """Raise `AssertionError` unless every page has exactly one owner and the counts of what is shared are true."""
    _check_prefixes(books, leases)
    for number, group in enumerate(books.groups):
        _check_group(books, number, group, leases)
    if books.states is not None:
        books.states.check([lease.state for lease in leases if lease.state is not None])
        _require(set(books.states.snapshots.pages) <= set(_entries(books)), "a snapshot stands for nothing")
    books.slabs.check()
    owned = [page for lease in leases for table in lease.tables for page in table.own(lease.shared)]
    everything = [*books.slabs, *owned, *(page for group in books.groups for page in group.pages.values())]
    there = books.slabs.pages
    _require(len(everything) == there, f"{len(everything)} pages have an owner, there are {there}")
    _require(set(everything) == books.slabs.everything, "a page has two owners")


def _check_prefixes(books: Books, leases: list[Lease]) -> None:
    holds: dict[int, int] = {}
    for lease in leases:
        path = list(lease.node.path())
        spelled = [entry for node in reversed(path) for entry in node.pages]
        _require(spelled == lease.entries, "a lease and the prefixes disagree on what it shares")
        _count(holds, (id(node) for node in path))
    nodes = list(books.prefixes.walk())
    for node in nodes:
        _require(node.holds == holds.get(id(node), 0), "a node counts another number of holds than there are")
        _require(len(node.keys) == len(node.pages) > 0, "a node's keys and pages differ in number")
        _require(node.parent is not None and node.parent.children.get(node.keys[0]) is node, "a node hangs loose")
    entries = _entries(books)
    idle = sum(len(node.pages) for node in nodes if not node.holds)
    _require((books.prefixes.pages, books.prefixes.idle) == (len(entries), idle), "the prefixes miscount")
    for group in books.groups:
        missing = set(entries) ^ set(group.pages)
        _require(missing <= set(entries), "a page stands for nothing")
        _require(group.window is not None or not missing, "a prefix has lost a page")


def _check_group(books: Books, number: int, group: CachedPages, leases: list[Lease]) -> None:
    keeps: dict[int, int] = {}
    for lease in leases:
        table = lease.tables[number]
        entries = table.shared(lease.entries)
        found = [group.pages.get(entry) for entry in entries]
        _require(found == table.pages[: len(entries)], "a lease and the prefix cache disagree on its shared pages")
        _require(lease.room <= table.stop * books.page_size, "a lease promises more room than it has")
        _count(keeps, entries)
    if group.window is not None:
        _require(group.keeps == keeps, "a page is kept by another number of leases than there are")
        _require(set(group.idle) == set(group.pages) - set(keeps), "a page is idle and kept, or neither")


def _entries(books: Books) -> list[int]:
    return [entry for node in books.prefixes.walk() for entry in node.pages]


def _count(counts: dict[int, int], things: Iterable[int]) -> None:
    for thing in things:
        counts[thing] = counts.get(thing, 0) + 1


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)

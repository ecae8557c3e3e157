"""Who owns which page.

A page belongs to a lease (one sequence's), to the prefix cache (a radix tree or a hash table), or to the free list, and
the three always add up to all pages; `check` proves it. Pages are numbers here: what lies in them is the pool's
business.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from .hashed import HashedPrefixes
from .radix import Node, RadixTree

Sharing: TypeAlias = Literal["radix", "hash", "off"]


class Prefixes(Protocol):
    """What is known of prefixes: `pages` of them, of which nobody holds `idle`. See `RadixTree`."""

    root: Node

    @property
    def pages(self) -> int: ...
    @property
    def idle(self) -> int: ...
    def match(self, tokens: Sequence[int], most: int) -> tuple[Node, list[int]]: ...
    def extend(self, node: Node, tokens: Sequence[int], start: int, pages: Sequence[int]) -> tuple[Node, list[int]]: ...
    def hold(self, node: Node) -> None: ...
    def release(self, node: Node) -> None: ...
    def evict(self, wanted: int) -> list[int]: ...
    def drop(self, node: Node) -> list[int]: ...
    def walk(self) -> Iterator[Node]: ...


@dataclass(slots=True, eq=False)
class Lease:
    """The pages of one sequence in order. The first `shared` are the tree's, down to `node`; the rest are its own.

    `written` is how many of `pages` its holder's page table already shows; whatever changes below that takes it back.
    """

    node: Node
    pages: list[int] = field(default_factory=list)
    shared: int = 0
    written: int = 0


class PageCache:
    """Hands out pages, finds prefixes that are already computed, and takes the oldest back when pages run out."""

    def __init__(self, pages: int, page_size: int, *, sharing: Sharing = "radix") -> None:
        self.pages = pages
        self.page_size = page_size
        self.prefixes: Prefixes = HashedPrefixes(page_size) if sharing == "hash" else RadixTree(page_size)
        self.evicted = 0
        self._share = sharing != "off"
        self._unused = 0  # pages from here on were never handed out: no list of them is needed
        self._returned: list[int] = []

    @property
    def free(self) -> int:
        return len(self._returned) + self.pages - self._unused

    @property
    def available(self) -> int:
        """Pages that a lease could still get: the free ones and those of the tree that nobody holds."""
        return self.free + self.prefixes.idle

    @property
    def capacity(self) -> int:
        """Tokens that fit when one sequence has every page."""
        return self.pages * self.page_size

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_size)

    def lease(self, tokens: Sequence[int], *, reusable: int, spare: int = 0) -> Lease | None:
        """Pages for all of `tokens`, or None when there are not enough with `spare` more left over.

        At most the first `reusable` tokens are taken from what is already computed: `shared` pages of them.
        """
        most = reusable // self.page_size if self._share else 0
        node, pages = self.prefixes.match(tokens, most)
        self.prefixes.hold(node)
        wanted = self.pages_for(len(tokens)) - len(pages)
        if wanted + spare > self.available:
            self.prefixes.release(node)
            return None
        return Lease(node, pages + self._take(wanted), shared=len(pages))

    def grow(self, lease: Lease) -> bool:
        """One more page for `lease`; False when there is none to be had."""
        if not self.available:
            return False
        lease.pages += self._take(1)
        return True

    def commit(self, lease: Lease, tokens: Sequence[int], computed: int) -> None:
        """Give the tree the pages that the first `computed` of `tokens` fill, for others to share."""
        full = computed // self.page_size
        if not self._share or full <= lease.shared:
            return
        own = lease.pages[lease.shared : full]
        node, pages = self.prefixes.extend(lease.node, tokens, lease.shared, own)
        self.prefixes.hold(node)
        self.prefixes.release(lease.node)
        twice = [mine for mine, theirs in zip(own, pages, strict=True) if mine != theirs]
        if twice:
            self._returned += twice
            lease.written = min(lease.written, lease.shared)
        lease.pages[lease.shared : full] = pages
        lease.node, lease.shared = node, full

    def shorten(self, lease: Lease, pages: int) -> None:
        """Take back all but the first `pages` of `lease`, which are not fewer than it shares."""
        self._returned += lease.pages[pages:]
        del lease.pages[pages:]
        lease.written = min(lease.written, pages)

    def release(self, lease: Lease) -> None:
        """End `lease`: its own pages are free again, the tree keeps what was committed."""
        self.prefixes.release(lease.node)
        self._returned += lease.pages[lease.shared :]
        lease.node, lease.pages, lease.shared, lease.written = self.prefixes.root, [], 0, 0

    def discard(self, lease: Lease) -> None:
        """End `lease` and forget what it shared with nobody: its contents are not to be trusted."""
        node = lease.node
        self.release(lease)
        self._returned += self.prefixes.drop(node)

    def check(self, leases: Iterable[Lease]) -> None:
        """Raise `AssertionError` unless every page has exactly one owner and the tree's counts are true."""
        leases = list(leases)
        owned = [page for lease in leases for page in lease.pages[lease.shared :]]
        in_tree = self._check_tree(leases)
        fresh = range(self._unused, self.pages)
        everything = [*self._returned, *fresh, *owned, *in_tree]
        _require(len(everything) == self.pages, f"{len(everything)} pages have an owner, there are {self.pages}")
        _require(set(everything) == set(range(self.pages)), "a page has two owners")

    def _check_tree(self, leases: list[Lease]) -> list[int]:
        holds: dict[int, int] = {}
        for lease in leases:
            path = list(lease.node.path())
            spelled = [page for node in reversed(path) for page in node.pages]
            _require(spelled == lease.pages[: lease.shared], "a lease and the tree disagree on its shared pages")
            for node in path:
                holds[id(node)] = holds.get(id(node), 0) + 1
        nodes = list(self.prefixes.walk())
        for node in nodes:
            _require(node.holds == holds.get(id(node), 0), "a node counts another number of holds than there are")
            _require(len(node.keys) == len(node.pages) > 0, "a node's keys and pages differ in number")
            _require(node.parent is not None and node.parent.children.get(node.keys[0]) is node, "a node hangs loose")
        in_tree = [page for node in nodes for page in node.pages]
        idle = sum(len(node.pages) for node in nodes if not node.holds)
        _require((self.prefixes.pages, self.prefixes.idle) == (len(in_tree), idle), "the tree miscounts its pages")
        return in_tree

    def _take(self, wanted: int) -> list[int]:
        """`wanted` pages, the caller having seen that they are available. A pool fills from its start."""
        short = wanted - self.free
        if short > 0:
            evicted = self.prefixes.evict(short)
            self.evicted += len(evicted)
            self._returned += evicted
        kept = max(len(self._returned) - wanted, 0)
        taken = self._returned[kept:][::-1]
        del self._returned[kept:]
        fresh = wanted - len(taken)
        taken += range(self._unused, self._unused + fresh)
        self._unused += fresh
        return taken


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)

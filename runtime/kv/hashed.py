"""Prefixes that were computed before, found by a digest a page: the simpler of the two prefix caches.

A page's key is the SHA-256 of its tokens behind the key of the page before it, so that one table holds all prefixes and
a page is found only behind the whole prefix that it was computed with. There are no runs to split and no heap: what
nobody holds stands in one line, and the least recently used page goes first. It costs an entry for every page, where
the radix tree has one for every run. The pages are numbers here, too.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count

from .radix import Node


class HashedPrefixes:
    """The same promises as `RadixTree`, over nodes of one page each.

    In the line of idle pages each stands before the one it follows in a prefix: a path is put there from its end up.
    """

    def __init__(self, page_size: int, clock: Iterator[int] | None = None) -> None:
        self.page_size = page_size
        self.root = Node(None, [], [])
        self._known: dict[bytes, Node] = {}
        self._idle: OrderedDict[int, Node] = OrderedDict()  # by page
        self._clock = count(1) if clock is None else clock

    @property
    def pages(self) -> int:
        return len(self._known)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def oldest(self) -> int | None:
        """When the page was used that `evict` would take."""
        return next(iter(self._idle.values())).used if self._idle else None

    def match(self, tokens: Sequence[int], most: int) -> tuple[Node, list[int]]:
        """The node of the longest known prefix, at most `most` pages of it, and the pages on the way there.

        What it names may be evicted until `hold(node)` is called.
        """
        node = self.root
        pages: list[int] = []
        while len(pages) < most and (found := self._known.get(self._key(node, tokens, len(pages)))) is not None:
            node = found
            pages += node.pages
        self._touch(node)
        return node, pages

    def extend(self, node: Node, tokens: Sequence[int], start: int, pages: Sequence[int]) -> tuple[Node, list[int]]:
        """Put `pages` below `node`, which stands for the first `start` pages of `tokens`.

        Returns the node they end at and the pages as the table has them: where another sequence came first with the
        same tokens, its page stands there, and the caller's own one stays with the caller.
        """
        known: list[int] = []
        for place, page in enumerate(pages, start):
            key = self._key(node, tokens, place)
            node = self._known.get(key) or self._add(node, key, page)
            known += node.pages
        self._touch(node)
        return node, known

    def hold(self, node: Node) -> None:
        """Keep `node` and all before it until `release(node)`."""
        for part in node.path():
            self._idle.pop(part.pages[0], None)
            part.holds += 1

    def release(self, node: Node) -> None:
        for part in node.path():
            part.holds -= 1
            if not part.holds:
                self._idle[part.pages[0]] = part
                part.used = next(self._clock)

    def evict(self, wanted: int) -> list[int]:
        """Take up to `wanted` pages out of the table, least recently used first."""
        taken: list[int] = []
        while len(taken) < wanted and self._idle:
            taken.append(self._remove(next(iter(self._idle.values()))))
        return taken

    def drop(self, node: Node) -> list[int]:
        """Take `node` out, and those before it, up to whatever somebody holds or shares."""
        taken: list[int] = []
        while node.evictable and node.parent is not None:
            above = node.parent
            taken.append(self._remove(node))
            node = above
        return taken

    def walk(self) -> Iterator[Node]:
        """Every node but the root; for checks."""
        return iter(self._known.values())

    def _key(self, node: Node, tokens: Sequence[int], page: int) -> bytes:
        own = array("q", tokens[page * self.page_size : (page + 1) * self.page_size])
        return sha256(_digest(node) + own.tobytes()).digest()

    def _add(self, parent: Node, key: bytes, page: int) -> Node:
        node = Node(parent, [key], [page])
        parent.children[key] = self._known[key] = self._idle[page] = node
        node.used = next(self._clock)
        return node

    def _remove(self, node: Node) -> int:
        key, page = _digest(node), node.pages[0]
        del self._known[key], self._idle[page]
        if node.parent is not None:
            del node.parent.children[key]
        return page

    def _touch(self, node: Node) -> None:
        """Now used: last of the line, if it is there; those before it even later."""
        for part in node.path():
            if not part.holds:
                self._idle.move_to_end(part.pages[0])
                part.used = next(self._clock)


def _digest(node: Node) -> bytes:
    """The key of a node of this table; the root's is empty."""
    key = node.keys[0] if node.keys else b""
    if not isinstance(key, bytes):
        raise AssertionError("a node of another prefix cache")
    return key

"""Prefixes that were computed before, shared at page grain.

A path from the root spells a token sequence, a page at a time; each node holds a run of pages, and siblings differ in
their first one. A node that a lease stands on, or stands below, is held and stays; the rest may be evicted, least
recently used leaf first, from its tail. Which leaf that is comes from a heap, never from a walk over the tree. The tree
knows pages by number and never touches what is in them; where several groups of layers have pages of their own, the
number is an entry's, which stands for one page of each.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import count
from typing import TypeAlias

PageKey: TypeAlias = tuple[int, ...] | bytes  # the tokens themselves, or a digest of them


class Node:
    """A run of pages below `parent`: `keys[i]` stands for the tokens in page `pages[i]`."""

    __slots__ = ("children", "holds", "keys", "pages", "parent", "used")

    def __init__(self, parent: "Node | None", keys: list[PageKey], pages: list[int]) -> None:
        self.parent = parent
        self.keys = keys
        self.pages = pages
        self.children: dict[PageKey, Node] = {}
        self.holds = 0
        self.used = 0

    @property
    def evictable(self) -> bool:
        return not (self.holds or self.children) and self.parent is not None and bool(self.pages)

    def path(self) -> Iterator["Node"]:
        """This node and those above it, the root left out."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent


class RadixTree:
    """The prefix cache of one model. `pages` counts all it has, `idle` those that nobody holds."""

    def __init__(self, page_size: int, clock: Iterator[int] | None = None) -> None:
        """`clock` says when something is used, where that is compared with the use of others."""
        self.page_size = page_size
        self.root = Node(None, [], [])
        self.pages = 0
        self.idle = 0
        self._clock = count(1) if clock is None else clock
        self._ties = count()
        self._leaves: list[tuple[int, int, Node]] = []
        self._nodes = 0

    @property
    def oldest(self) -> int | None:
        """When the leaf was used that `evict` would take from."""
        while self._leaves:
            used, _, node = self._leaves[0]
            if node.evictable and used == node.used:
                return used
            heapq.heappop(self._leaves)
        return None

    def match(self, tokens: Sequence[int], most: int) -> tuple[Node, list[int]]:
        """The deepest node of the longest known prefix, at most `most` pages of it, and the pages on the way there.

        What it names may be evicted until `hold(node)` is called.
        """
        return self._descend(self.root, tokens, 0, most)

    def extend(self, node: Node, tokens: Sequence[int], start: int, pages: Sequence[int]) -> tuple[Node, list[int]]:
        """Put `pages` below `node`, which stands for the first `start` pages of `tokens`.

        Returns the node they end at and the pages as the tree has them: where another sequence came first with the same
        tokens, its page stands there, and the caller's own one stays with the caller.
        """
        stop = start + len(pages)
        node, known = self._descend(node, tokens, start, stop)
        fresh = list(pages[len(known) :])
        if fresh:
            node = self._attach(node, [self._key(tokens, i) for i in range(start + len(known), stop)], fresh)
            self.pages += len(fresh)
            self.idle += len(fresh)
            self._touch(node)
        return node, known + fresh

    def hold(self, node: Node) -> None:
        """Keep `node` and all above it until `release(node)`."""
        for part in node.path():
            if not part.holds:
                self.idle -= len(part.pages)
            part.holds += 1

    def release(self, node: Node) -> None:
        for part in node.path():
            part.holds -= 1
            if not part.holds:
                self.idle += len(part.pages)
            self._touch(part)

    def evict(self, wanted: int) -> list[int]:
        """Take up to `wanted` pages out of the tree, least recently used leaf first."""
        taken: list[int] = []
        while len(taken) < wanted and self.oldest is not None:
            taken += self._cut(self._leaves[0][2], wanted - len(taken))
        return taken

    def drop(self, node: Node) -> list[int]:
        """Take `node` out, and what becomes a leaf above it, up to whatever somebody holds or shares."""
        taken: list[int] = []
        while node.evictable:
            above = node.parent
            taken += self._cut(node, len(node.pages))
            if above is None:
                break
            node = above
        return taken

    def walk(self) -> Iterator[Node]:
        """Every node but the root; for checks."""
        stack = list(self.root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()

    def _key(self, tokens: Sequence[int], page: int) -> PageKey:
        return tuple(tokens[page * self.page_size : (page + 1) * self.page_size])

    def _descend(self, node: Node, tokens: Sequence[int], start: int, stop: int) -> tuple[Node, list[int]]:
        """Follow `tokens` from page `start` down from `node`; a node of which only the head fits is split there."""
        pages: list[int] = []
        page = start
        while page < stop and (child := node.children.get(self._key(tokens, page))) is not None:
            same = 1
            longest = min(len(child.keys), stop - page)
            while same < longest and child.keys[same] == self._key(tokens, page + same):
                same += 1
            node = child if same == len(child.keys) else self._split(child, same)
            self._touch(node)
            pages += node.pages
            page += same
        return node, pages

    def _split(self, node: Node, head: int) -> Node:
        """Give the first `head` pages of `node` a node of their own, above it. Leases on `node` stay where they end."""
        above = node.parent if node.parent is not None else self.root
        upper = self._attach(above, node.keys[:head], node.pages[:head])
        upper.holds, upper.used = node.holds, node.used
        del node.keys[:head], node.pages[:head]
        node.parent = upper
        upper.children[node.keys[0]] = node
        return upper

    def _attach(self, parent: Node, keys: list[PageKey], pages: list[int]) -> Node:
        node = Node(parent, keys, pages)
        parent.children[keys[0]] = node
        self._nodes += 1
        return node

    def _cut(self, node: Node, wanted: int) -> list[int]:
        """Up to `wanted` pages from the tail of a leaf; the leaf goes when it is empty."""
        first, parent = node.keys[0], node.parent
        keep = max(len(node.pages) - wanted, 0)
        taken = node.pages[keep:]
        del node.pages[keep:], node.keys[keep:]
        self.pages -= len(taken)
        self.idle -= len(taken)
        if not keep and parent is not None:
            del parent.children[first]
            self._nodes -= 1
            self._offer(parent)
        return taken

    def _touch(self, node: Node) -> None:
        node.used = next(self._clock)
        self._offer(node)

    def _offer(self, node: Node) -> None:
        """Queue a leaf for eviction. Entries that a later use made stale go when met, or all at once when many."""
        if not node.evictable:
            return
        heapq.heappush(self._leaves, (node.used, next(self._ties), node))
        if len(self._leaves) > 64 + 4 * self._nodes:
            self._leaves = [entry for entry in self._leaves if entry[2].evictable and entry[0] == entry[2].used]
            heapq.heapify(self._leaves)

"""Which layers share a page: those that see equally far back, so many at a time that little of a page stays empty.

A page holds some tokens of every layer of one group, each in its slot, and all groups' pages are alike: one free list
serves full attention and windows of any size. Layers are numbers here, in their order.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from sys import maxsize
from typing import Final

MOST_WASTE: Final = 1 / 8  # of the slots of the layers that see equally far


@dataclass(frozen=True, slots=True)
class Group:
    """`layers[i]` has slot `i` of this group's pages; all see the last `window` tokens, or all there are."""

    window: int | None
    layers: tuple[int, ...]


def group_layers(windows: Sequence[int | None]) -> tuple[Group, ...]:
    """Groups for layers of these windows; those that see everything first, then by window."""
    alike: dict[int | None, list[int]] = {}
    for layer, window in enumerate(windows):
        alike.setdefault(window, []).append(layer)
    size = slots_of([len(layers) for layers in alike.values()])
    return tuple(
        Group(window, tuple(layers[start : start + size]))
        for window, layers in sorted(alike.items(), key=lambda entry: entry[0] or 0)
        for start in range(0, len(layers), size)
    )


def slots_of(counts: Sequence[int]) -> int:
    """How many layers share a page, where so many see equally far.

    So that there are few groups, each with a table of its own, and few slots stay empty: 4 and 22 layers become groups
    of 4, 12 and 12 become two groups, 8 and 24 become four.
    """
    sizes = [size for size in range(1, max(counts, default=1) + 1) if _waste(counts, size) <= MOST_WASTE]
    return min(sizes, key=lambda size: (sum(-(-count // size) for count in counts), _waste(counts, size)))


def windows_of(groups: Sequence[Group]) -> tuple[int | None, ...]:
    return tuple(group.window for group in groups)


def pages_needed(windows: Sequence[int | None], page_size: int, tokens: int) -> int:
    """Pages without which a sequence of `tokens` tokens cannot be, one token computed after the other."""
    places = -(-tokens // page_size)
    return sum(min(places, most_places(window, page_size)) for window in windows)


def most_places(window: int | None, page_size: int) -> int:
    """On how many pages a token and all that it sees can lie."""
    return maxsize if window is None else (window + page_size - 2) // page_size + 1


def tokens_in(windows: Sequence[int | None], page_size: int, pages: int) -> int:
    """Tokens of the longest sequence that so many pages hold; `sys.maxsize` where windows bound what it needs."""
    if pages_needed(windows, page_size, maxsize) <= pages:
        return maxsize
    places = range(pages + 1)
    return page_size * (bisect_right(places, pages, key=lambda n: pages_needed(windows, page_size, n * page_size)) - 1)


def _waste(counts: Sequence[int], size: int) -> float:
    """The largest share of slots without a layer, of any of the kinds."""
    return max((1 - count / (-(-count // size) * size) for count in counts), default=0.0)

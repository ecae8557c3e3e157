"""How many pages a cache gets, and how long a context it can hold; refusals come with the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ContextTooLong, InvalidParameter, NotEnoughMemory
from .groups import pages_needed, tokens_in


@dataclass(frozen=True, slots=True)
class Room:
    pages: int
    context: int


def plan_room(
    *,
    page_bytes: int,
    page_size: int,
    memory: int,
    trained: int,
    context: int | None,
    sequences: int,
    windows: Sequence[int | None] = (None,),
) -> Room:
    """As long a context as was asked for, or as the model was trained for and `memory` bytes hold.

    There are never more pages than so many sequences of that length could fill, were all that windows left still to be
    found. `windows` has an entry for each group of layers that share pages.
    """
    if context is not None and context < 1:
        raise InvalidParameter("context", context, "at least 1")
    if context is not None and context > trained:
        raise ContextTooLong(context, trained)
    affordable = memory // page_bytes
    least = pages_needed(windows, page_size, context or 1)
    if affordable < least:
        raise NotEnoughMemory(least * page_bytes, memory, f"a context of {context or page_size} tokens")
    longest = min(context or trained, tokens_in(windows, page_size, affordable))
    most = max(-(-longest // page_size) * len(windows) * sequences, 1)
    return Room(min(affordable, most), longest)

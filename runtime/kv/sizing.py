"""How many pages a cache gets, and how long a context it can hold; refusals come with the numbers."""

from dataclasses import dataclass

from ..errors import ContextTooLong, InvalidParameter, NotEnoughMemory


@dataclass(frozen=True, slots=True)
class Room:
    pages: int
    context: int


def plan_room(
    *, page_bytes: int, page_size: int, memory: int, trained: int, context: int | None, sequences: int
) -> Room:
    """As long a context as was asked for, or as the model was trained for and `memory` bytes hold.

    There are never more pages than so many sequences of that length could fill.
    """
    if context is not None and context < 1:
        raise InvalidParameter("context", context, "at least 1")
    if context is not None and context > trained:
        raise ContextTooLong(context, trained)
    affordable = memory // page_bytes
    least = -(-(context or 1) // page_size)
    if affordable < least:
        raise NotEnoughMemory(least * page_bytes, memory, f"a context of {context or page_size} tokens")
    longest = min(context or trained, affordable * page_size)
    return Room(min(affordable, -(-longest // page_size) * sequences), longest)

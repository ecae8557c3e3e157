"""Memory that several engines of one process share.

A budget knows how many bytes there are and who holds how many; what lies in them it does not know. What an engine needs
it takes while some are left. When none are, the others are asked for what they only keep in case: they give back slabs
that nobody uses, and prefixes that nobody holds, the least recently used first. What runs is never taken away: whoever
gets nothing waits, and meanwhile no other engine that has something to do lets in anything new.

Pages are handed out and taken back under the budget's lock, so that one engine may ask another from any thread.
"""

from threading import Condition, RLock
from typing import Protocol
from weakref import WeakSet

from ..errors import InvalidParameter


class Holder(Protocol):
    """Who holds bytes of a budget. It leaves the budget by going out of use."""

    @property
    def held(self) -> int: ...
    def give_back(self, size: int) -> int:
        """Part with about `size` bytes that nobody needs now; how many it were."""
        ...


class MemoryBudget:
    """`size` bytes for the caches of all engines that were loaded with it."""

    def __init__(self, size: int) -> None:
        if isinstance(size, bool) or size < 1:
            raise InvalidParameter("budget", size, "a number of bytes, 1 or more")
        self.size = size
        self.lock = RLock()
        self._changed = Condition(self.lock)
        self._changes = 0
        self._holders: WeakSet[Holder] = WeakSet()
        self._starving: WeakSet[Holder] = WeakSet()

    @property
    def held(self) -> int:
        """Bytes that somebody holds."""
        return sum(holder.held for holder in self._holders)

    @property
    def left(self) -> int:
        return self.size - self.held

    def join(self, holder: Holder) -> None:
        with self.lock:
            self._holders.add(holder)

    def ask(self, size: int, asker: Holder) -> None:
        """See that `size` bytes are left, as far as others can part with some: who holds most first."""
        others = sorted((one for one in self._holders if one is not asker), key=lambda one: one.held, reverse=True)
        for holder in others:
            if self.left >= size:
                return
            holder.give_back(size - self.left)

    def starves(self, holder: Holder, is_so: bool) -> None:
        """Say that nothing of `holder` can run for want of memory, or that something does again."""
        (self._starving.add if is_so else self._starving.discard)(holder)

    def is_wanted(self, holder: Holder) -> bool:
        """Whether another starves: who has something running lets in nothing new."""
        return any(one is not holder for one in self._starving)

    def note_change(self) -> None:
        """Somebody is at work: who waits may look again."""
        with self.lock:
            self._changes += 1
            if self._starving:
                self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until somebody else is at work; False when nobody was."""
        with self.lock:
            before = self._changes
            return self._changed.wait_for(lambda: self._changes != before, seconds)

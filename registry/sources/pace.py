"""How fast bytes may come: one pace for the whole process, however many files and threads share it.

It knows neither sources nor files; whoever receives bytes says how many, and is held up as long as they should take.
"""

from functools import lru_cache
from threading import Lock
from time import monotonic, sleep

_STEPS = 20  # in so many portions a second do bytes come: fine enough to look even


class Pace:
    """At most `rate` bytes a second, all that take from it together."""

    def __init__(self, rate: int) -> None:
        self._rate, self._lock, self._free = rate, Lock(), 0.0

    @property
    def portion(self) -> int:
        """How many bytes to take at once."""
        return max(1, self._rate // _STEPS)

    def take(self, count: int) -> None:
        """Return when `count` bytes, which have just come, are allowed. What was not used before is not saved up."""
        with self._lock:
            self._free = max(self._free, monotonic()) + count / self._rate
            until = self._free
        sleep(max(0.0, until - monotonic()))


@lru_cache(maxsize=8)
def pace_of(rate: int) -> Pace:
    """The process's one pace of that rate."""
    return Pace(rate)

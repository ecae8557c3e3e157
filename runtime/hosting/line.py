"""Who stands in line for a model: how many answers are wanted at once, and who finds no place any more.

It counts whether the model is loaded or not: who waits for its loading stands in the same line.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from .asking import Fault, HostError

_LONGEST = 60.0  # seconds: nobody is told to stay away for longer


class Line:
    """Of each model `running` requests are computed at once; `most` more may wait."""

    def __init__(self, running: int, most: int) -> None:
        self._running = running
        self._most = most
        self._asked: Counter[str] = Counter()
        self.refused = 0

    def asked(self, name: str) -> int:
        """How many requests for that model are under way."""
        return self._asked[name]

    @contextmanager
    def place(self, name: str) -> Iterator[int]:
        """A place for one more; how many stand before it. Raises `HostError` at once where there is none."""
        before = self._asked[name] - self._running
        if before >= self._most:
            self.refused += 1
            raise HostError(self._full(name, before))
        self._asked[name] += 1
        try:
            yield max(before, 0)
        finally:
            self._asked[name] -= 1
            if not self._asked[name]:
                del self._asked[name]

    def _full(self, name: str, before: int) -> Fault:
        return Fault(
            "busy",
            f"{max(before, 0)} requests wait for {name} already, which is as many as may",
            "ask again later",
            retry_after=min(_LONGEST, 1.0 + max(before, 0)),
            numbers={"waiting": max(before, 0), "max_queue": self._most},
        )

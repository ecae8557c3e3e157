"""Who waits: by arrival, and by length, so that a short request need not stand behind a long one."""

import heapq

from .sequence import Sequence


class WaitingLine:
    """Sequences that wait for their turn. One that ran and gave way comes back to the place of its arrival.

    Both orders are heaps; what was removed stays in them until it is met. Every operation is O(log waiting).
    """

    def __init__(self) -> None:
        self._members: set[int] = set()
        self._by_arrival: list[tuple[int, Sequence]] = []
        self._by_length: list[tuple[int, int, Sequence]] = []

    def __len__(self) -> int:
        return len(self._members)

    def push(self, sequence: Sequence) -> None:
        self._members.add(sequence.number)
        heapq.heappush(self._by_arrival, (sequence.number, sequence))
        heapq.heappush(self._by_length, (len(sequence.tokens), sequence.number, sequence))

    def remove(self, sequence: Sequence) -> None:
        self._members.remove(sequence.number)
        if not self._members:
            self._by_arrival.clear()
            self._by_length.clear()

    def first(self) -> Sequence | None:
        """The one that came first."""
        while self._by_arrival and self._by_arrival[0][0] not in self._members:
            heapq.heappop(self._by_arrival)
        return self._by_arrival[0][1] if self._by_arrival else None

    def shortest(self) -> Sequence | None:
        """The shortest, and of equals the one that came first."""
        while self._by_length:
            length, number, sequence = self._by_length[0]
            if number in self._members and length == len(sequence.tokens):
                return sequence
            heapq.heappop(self._by_length)
        return None

"""Who waits: by priority and arrival, and by length, so that a short request need not stand behind a long one."""

import heapq

from .sequence import Sequence


class WaitingLine:
    """Sequences that wait for their turn. One that ran and gave way comes back to the place of its arrival.

    Both orders are heaps; what was removed stays in them until it is met. Every operation is O(log waiting).
    """

    def __init__(self) -> None:
        self._members: set[int] = set()
        self._by_rank: list[tuple[tuple[int, int], Sequence]] = []
        self._by_length: list[tuple[int, int, int, Sequence]] = []
        self._held: dict[int, list[Sequence]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence.number in self._members

    def push(self, sequence: Sequence) -> None:
        self._members.add(sequence.number)
        heapq.heappush(self._by_rank, (sequence.rank, sequence))
        heapq.heappush(self._by_length, (-sequence.priority, len(sequence.tokens), sequence.number, sequence))

    def hold(self, sequence: Sequence, leader: Sequence) -> None:
        """Let `sequence` wait outside both orders until those that follow `leader` are let go."""
        self._members.add(sequence.number)
        self._held.setdefault(leader.number, []).append(sequence)

    def let_go(self, leader: Sequence) -> list[Sequence]:
        """Those that were held for `leader` and still wait: to be pushed, or held again."""
        return [sequence for sequence in self._held.pop(leader.number, ()) if sequence.number in self._members]

    def remove(self, sequence: Sequence) -> None:
        self._members.remove(sequence.number)
        if not self._members:
            self._by_rank.clear()
            self._by_length.clear()
            self._held.clear()

    def first(self) -> Sequence | None:
        """Of those with the highest priority, the one that came first."""
        while self._by_rank and self._by_rank[0][1].number not in self._members:
            heapq.heappop(self._by_rank)
        return self._by_rank[0][1] if self._by_rank else None

    def shortest(self) -> Sequence | None:
        """Of those with the highest priority the shortest, and of equals the one that came first."""
        while self._by_length:
            _, length, number, sequence = self._by_length[0]
            if number in self._members and length == len(sequence.tokens):
                return sequence
            heapq.heappop(self._by_length)
        return None

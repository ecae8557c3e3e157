"""Pages that cross between a device and the host's memory, and who waits for whom.

A GPU copies beside what it computes, and the host goes on: a copy begins when all that was asked for before it is
computed, and whoever is given one of its pages next waits for it, on the device. So a page is written anew only when it
was saved, and read only when it has arrived. Other devices copy while the host waits, and nobody has to.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor


class Mark(Protocol):
    """A copy on its way."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None until it is done."""
        ...


class Lanes(Protocol):
    """Two orders of work on one device: what is computed, and what is copied beside it."""

    def room(self, pages: int, size: int) -> Tensor:
        """Memory of the host [pages, size] uint8 that copies can reach."""
        ...

    def copy(self, work: Callable[[], None]) -> Mark:
        """Have `work` done beside, behind all copies before it and all that was asked to be computed until now."""
        ...

    def wait_for(self, mark: Mark) -> None:
        """What is asked to be computed from now on comes behind it."""
        ...


@dataclass(frozen=True, slots=True)
class Move:
    """Pages [pages, bytes of a page] uint8 in the host's memory, where `mark` says that they are there."""

    data: Tensor
    mark: Mark

    @property
    def is_done(self) -> bool:
        return self.mark.seconds is not None


class Moves(Protocol):
    """How pages of `memory` [pages, bytes of a page] cross."""

    def save(self, memory: Tensor, pages: Sequence[int]) -> Move: ...
    def bring(self, memory: Tensor, pages: Sequence[int], saved: Tensor, rows: Sequence[int]) -> Move:
        """Copy `rows` of what was saved to `pages`."""
        ...

    def claim(self, pages: Iterable[int]) -> None:
        """Somebody uses these pages from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """A copy that was waited for."""

    seconds: float


class DirectMoves:
    """The host waits for each copy."""

    def save(self, memory: Tensor, pages: Sequence[int]) -> Move:
        began = perf_counter()
        data = memory.index_select(0, _numbers(pages, memory.device)).cpu()
        return Move(data, Done(perf_counter() - began))

    def bring(self, memory: Tensor, pages: Sequence[int], saved: Tensor, rows: Sequence[int]) -> Move:
        began = perf_counter()
        data = saved.index_select(0, _numbers(rows, saved.device))
        memory.index_copy_(0, _numbers(pages, memory.device), data.to(memory.device))
        return Move(data, Done(perf_counter() - began))

    def claim(self, pages: Iterable[int]) -> None:
        """Nothing is on its way."""


class SideMoves:
    """Copies go beside what is computed; the last one that touches a page is what its next user waits for."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._last: dict[int, Mark] = {}

    def save(self, memory: Tensor, pages: Sequence[int]) -> Move:
        data = self._lanes.room(len(pages), memory.shape[1])

        def work() -> None:
            for to, start, count in _runs(range(len(pages)), pages):
                data[to : to + count].copy_(memory[start : start + count], non_blocking=True)

        return self._note(pages, Move(data, self._lanes.copy(work)))

    def bring(self, memory: Tensor, pages: Sequence[int], saved: Tensor, rows: Sequence[int]) -> Move:
        def work() -> None:
            for to, start, count in _runs(pages, rows):
                memory[to : to + count].copy_(saved[start : start + count], non_blocking=True)

        return self._note(pages, Move(saved, self._lanes.copy(work)))

    def claim(self, pages: Iterable[int]) -> None:
        if self._last:
            marks = [self._last.pop(page) for page in pages if page in self._last]
            for mark in dict.fromkeys(marks):
                self._lanes.wait_for(mark)

    def _note(self, pages: Sequence[int], move: Move) -> Move:
        self._last.update(dict.fromkeys(pages, move.mark))
        return move


class CudaLanes:
    """The current stream of a GPU, and one beside it; memory of the host is pinned, and torch keeps it until copies
    from and to it are done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def room(self, pages: int, size: int) -> Tensor:
        return torch.empty(pages, size, dtype=torch.uint8, pin_memory=True)

    def copy(self, work: Callable[[], None]) -> Mark:
        began, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._side):
            began.record(self._side)
            work()
            done.record(self._side)
        return _CudaMark(began, done)

    def wait_for(self, mark: Mark) -> None:
        if isinstance(mark, _CudaMark):
            torch.cuda.current_stream(self._device).wait_event(mark.done)


class _CudaMark:
    def __init__(self, began: torch.cuda.Event, done: torch.cuda.Event) -> None:
        self._began, self.done = began, done

    @property
    def seconds(self) -> float | None:
        is_done = self.done.query()  # type: ignore[no-untyped-call]
        return self._began.elapsed_time(self.done) / 1000 if is_done else None


def moves_of(device: torch.device) -> Moves:
    return SideMoves(CudaLanes(device)) if device.type == "cuda" else DirectMoves()


def _numbers(pages: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(pages, dtype=torch.int64, device=device)


def _runs(targets: Sequence[int], sources: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Where neighbours go to neighbours: target, source and how many, one copy each."""
    first = 0
    for place in range(1, len(targets) + 1):
        count = place - first
        if place == len(targets) or (targets[place], sources[place]) != (
            targets[first] + count,
            sources[first] + count,
        ):
            yield targets[first], sources[first], count
            first = place

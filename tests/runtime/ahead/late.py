"""Stand-ins for a device that computes by itself: on a CPU, and as late as may be."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unillm.models.ops.cpu.tape import Recorder, Tape
from unillm.models.ops.cpu.workspace import Workspace
from unillm.runtime.ahead.device import Started, Work
from unillm.runtime.ahead.flights import Flights
from unillm.runtime.ahead.graphs import Decodes, Graph
from unillm.runtime.engine import Engine
from unillm.runtime.kv.moves import Mark, SideMoves
from unillm.runtime.wheel import Wheel

READING = frozenset(
    (
        *(Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.nonzero, torch.nonzero),
        *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__iter__, Tensor.unique),
    )
)


class ReadTooEarly(AssertionError):
    """The host asked for a number that a device would still be computing."""


class _NothingIsRead(TorchFunctionMode):
    """As long as it holds, nobody on the host may learn what is in a tensor."""

    def __torch_function__(
        self, function: Any, types: Any, given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        if function in READING:
            raise ReadTooEarly(function.__name__)
        return function(*given, **(named or {}))


class Late:
    """Does nothing before somebody waits for it; then all that was asked for up to there, in order.

    So whatever the host writes over in the meantime, the work sees written over. `ahead` counts the steps that were
    asked for while another one was not done; `waits` those that were waited for.
    """

    def __init__(self) -> None:
        self.ahead = self.waits = 0
        self._queue: deque[_Waiting] = deque()

    def send(self, numbers: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(numbers.copy())

    def start(self, work: Work) -> Started:
        self.ahead += bool(self._queue)
        self._queue.append(_Waiting(self, work))
        return self._queue[-1]

    def then(self, work: Work) -> None:
        """The same, and nobody will wait for it."""
        self._queue.append(_Waiting(self, work))

    def catch_up(self, until: "_Waiting | None" = None) -> None:
        """Do what was asked for, up to `until`, or all of it."""
        while self._queue and (until is None or until.left is None):
            one = self._queue.popleft()
            with _NothingIsRead():
                one.left = [left.clone() for left in one.work()]


class _Waiting:
    def __init__(self, device: Late, work: Work) -> None:
        self._device = device
        self.work = work
        self.left: list[Tensor] | None = None

    def wait(self) -> list[Tensor]:
        self._device.waits += 1
        self._device.catch_up(self)
        assert self.left is not None
        return self.left


class Prompt(Late):
    """Computes at once, as if the device were faster than the host; only the answers are late."""

    def start(self, work: Work) -> Started:
        started = super().start(work)
        self.catch_up()
        return started


class LateLanes:
    """Copies beside what `device` computes, made when it has to wait for one of them: then all up to there. The host's
    memory holds anything until a copy is made.
    """

    def __init__(self, device: Late) -> None:
        self.device, self.made = device, 0
        self._queue: deque[_Copying] = deque()

    def room(self, pages: int, size: int) -> Tensor:
        return torch.full((pages, size), 0xEE, dtype=torch.uint8)

    def copy(self, work: Callable[[], None]) -> Mark:
        self._queue.append(_Copying(work))
        return self._queue[-1]

    def wait_for(self, mark: Mark) -> None:
        self.device.then(lambda: self.catch_up(mark))

    def catch_up(self, mark: Mark) -> Sequence[Tensor]:
        while mark.seconds is None:
            one = self._queue.popleft()
            one.work()
            one.seconds = 0.001
            self.made += 1
        return ()


class PromptLanes(LateLanes):
    """Copies at once, as soon as what it comes behind is computed."""

    def copy(self, work: Callable[[], None]) -> Mark:
        self.device.catch_up()
        mark = super().copy(work)
        self.catch_up(mark)
        return mark


class _Copying:
    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.seconds: float | None = None


class TapeRecorder:
    """Steps recorded as they are on a CPU: what torch is asked for, on addresses that stay. No host code runs again."""

    def record(self, work: Callable[[], None]) -> Graph:
        tape = Tape()
        with Recorder(tape, Workspace()):
            work()
        tape.close()
        return _Taped(tape)

    def forget(self) -> None:
        """Nothing is shared between tapes."""


class _Taped:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def replay(self) -> None:
        self._tape.replay(lambda *_: None)


def make_late(wheel: Wheel, device: Late, *, graphs: bool = False) -> Flights:
    """Let `wheel` compute on `device`, and copy pages beside it."""
    decodes = Decodes(wheel.runner, TapeRecorder(), wheel.scheduler.sequences) if graphs else None
    wheel.flights = Flights(device, wheel.runner, wheel.scheduler, decodes)
    wheel.runner.pool.moves = SideMoves((PromptLanes if isinstance(device, Prompt) else LateLanes)(device))
    plain = wheel.runner.run
    wheel.runner.run = _in_order(device, plain)  # type: ignore[method-assign]
    return wheel.flights


def late_engine(engine: Engine, device: Late | None = None) -> Late:
    """The same for an engine; the device."""
    late = device or Late()
    engine._desk().look(lambda wheel: make_late(wheel, late))
    return late


def recorded_engine(engine: Engine, device: Late | None = None) -> Decodes:
    """The same, with steps that are recorded; these."""
    flights = engine._desk().look(lambda wheel: make_late(wheel, device or Late(), graphs=True))
    assert flights.decodes is not None
    return flights.decodes


def _in_order(device: Late, plain: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        device.catch_up()
        return plain(*given)

    return run


@contextmanager
def nothing_read() -> Iterator[None]:
    """While it holds, reading a tensor on the host is a failure."""
    with _NothingIsRead():
        yield

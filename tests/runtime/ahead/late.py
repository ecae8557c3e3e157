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


class TapeRecorder:
    """Steps recorded as they are on a CPU: what torch is asked for, on addresses that stay. No host code runs again."""

    def record(self, work: Callable[[], None]) -> Graph:
        tape = Tape()
        with Recorder(tape, Workspace()):
            work()
        tape.close()
        return _Taped(tape)


class _Taped:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def replay(self) -> None:
        self._tape.replay(lambda *_: None)


def make_late(wheel: Wheel, device: Late, *, graphs: bool = False) -> Flights:
    """Let `wheel` compute on `device`. Pages are read and written in its order, too."""
    decodes = Decodes(wheel.runner, TapeRecorder(), wheel.scheduler.sequences) if graphs else None
    wheel.flights = Flights(device, wheel.runner, wheel.scheduler, decodes)
    pool = wheel.runner.pool
    for name in ("read", "write"):
        setattr(pool, name, _in_order(device, getattr(pool, name)))
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

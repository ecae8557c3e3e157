"""Ctrl-C while an answer comes: the answer ends, the shell goes on.

An engine may not be interrupted wherever it is: its pages would no longer add up. So the first Ctrl-C asks for an end,
which comes with the next turn; only one long after it breaks in.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType, TracebackType
from typing import Final, Self

from ...runtime.results import Update
from ..speaking import Answer

_PATIENCE: Final = 3.0  # seconds


@contextmanager
def deaf() -> Iterator[None]:
    """Ctrl-C does nothing, but where somebody is `hearing`: between two things it would end the program."""
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def hearing() -> Iterator[None]:
    """Ctrl-C is a `KeyboardInterrupt`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Stoppable:
    """An answer's updates, until it has ended or was `stopped`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pressed: float | None = None

    @property
    def stopped(self) -> bool:
        return self._pressed is not None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._heed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
        self._answer.close()

    def __iter__(self) -> Iterator[Update]:
        return self._answer.updates

    def _heed(self, _number: int, _frame: FrameType | None) -> None:
        if self._pressed is not None:
            if monotonic() - self._pressed > _PATIENCE:
                raise KeyboardInterrupt
            return
        self._pressed = monotonic()
        self._answer.stop()

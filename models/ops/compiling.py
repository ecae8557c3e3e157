"""Kernels that are compiled beside the work that wants them: a thread, what it has to do, and what it failed at.

Whoever launches a kernel that is not there yet hears `NotCompiled`, having launched nothing, and computes by other
means. Knows no compiler.
"""

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Condition, Thread, main_thread
from typing import Final

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final[ContextVar[bool]] = ContextVar("at_once", default=False)


class NotCompiled(Exception):
    """A kernel is not there, yet or ever; nothing was launched."""


class Backlog:
    """What is to be compiled, in the order in which it was wanted. `missed` launches found their kernel on its way."""

    def __init__(self) -> None:
        self.missed = 0
        self._changed = Condition()
        self._known: set[Hashable] = set()
        self._failed: set[Hashable] = set()
        self._jobs: deque[tuple[Hashable, str, Callable[[], None]]] = deque()
        self._works = False

    def miss(self, key: Hashable, name: str, compile_it: Callable[[], None]) -> NotCompiled:
        """The kernel of `key` was wanted, and is not there: it will be, unless it cannot be compiled."""
        with self._changed:
            self.missed += key not in self._failed
            if key not in self._known:
                self._known.add(key)
                self._jobs.append((key, name, compile_it))
                if not self._works:
                    self._works = True
                    Thread(target=self._work, name="compiling kernels").start()
        return NotCompiled(name)

    def wait(self, seconds: float) -> bool:
        """Until all that was wanted is compiled, or has failed."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._works, seconds)

    def _work(self) -> None:
        """As long as there is something to do, and somebody to do it for: no process waits with its end for kernels."""
        while True:
            with self._changed:
                if not self._jobs or not main_thread().is_alive():
                    self._works = False
                    self._changed.notify_all()
                    return
                key, name, compile_it = self._jobs.popleft()
            try:
                compile_it()
            except Exception as error:  # a door: what others' compilers fail of has many names
                self._failed.add(key)
                _LOG.warning("plain torch serves in place of %s, which cannot be compiled: %s", name, error)


@cache
def backlog() -> Backlog:
    """That of this process: compiled kernels are a process's, too."""
    return Backlog()


@contextmanager
def at_once() -> Iterator[None]:
    """In here whoever wants a kernel waits for it."""
    before = _AT_ONCE.set(True)
    try:
        yield
    finally:
        _AT_ONCE.reset(before)


def waits() -> bool:
    """Whether kernels are waited for here."""
    return _AT_ONCE.get()

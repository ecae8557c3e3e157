"""How calls of the compiled library are made, noted, and made again. Which operations there are is not known here."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import Array, Structure, byref, c_int64
from typing import Any, Protocol, Self

from . import library as c


class Tape(Protocol):
    """Where calls are noted: `tape.py`."""

    def add(self, function: Any, operands: Structure) -> None: ...


class Caller:
    """A context with its threads. `exact`: products take activations as they are, not rounded to 8 bits."""

    def __init__(self, context: c.Context, name: str, *, exact: bool = False) -> None:
        self.name, self.exact = name, exact
        self._context, self._library = context, context.library
        self._tape: Tape | None = None

    @classmethod
    def open(cls, threads: int, *, exact: bool = False, instruction_set: str | None = None) -> Self | None:
        """None where the package was built without them, or for another machine."""
        path = c.library_file()
        if path is None:
            return None
        try:
            loaded = c.library(path)
        except OSError:
            return None
        name = instruction_set or c.instruction_sets(loaded)[0]
        return cls(c.Context(loaded, threads, name), name, exact=exact)

    def _call(self, function: Any, operands: Structure) -> None:
        """The one way to a kernel of a forward pass, so that a recorded step holds all of them."""
        if self._tape is not None:
            self._tape.add(function, operands)
        function(self._context.handle, byref(operands))

    @contextmanager
    def recording(self, tape: Tape) -> Iterator[None]:
        """Calls are made, and noted on `tape` too."""
        self._tape = tape
        try:
            yield
        finally:
            self._tape = None

    def replay(self, steps: "Array[c.Step]", nanoseconds: "Array[c_int64] | None" = None) -> None:
        """Make recorded calls again; what each takes is added to `nanoseconds`."""
        self._library.unillm_replay(self._context.handle, steps, len(steps), nanoseconds)

"""How the terminal behaves while the line editor does not read from it.

What is typed while an answer comes is not shown among it, and comes to the next prompt key by key, as it was typed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

if sys.platform != "win32":
    import termios


@contextmanager
def quiet(terminal: TextIO | None) -> Iterator[None]:
    """Until the block ends, however it does; nothing changes where there is no terminal. Ctrl-C and Ctrl-Z stay what
    they are.
    """
    if sys.platform == "win32" or terminal is None:
        yield
        return
    before = termios.tcgetattr(terminal)
    still = termios.tcgetattr(terminal)
    still[0] &= ~termios.ICRNL  # Enter is told from Ctrl-J
    still[3] &= ~(termios.ECHO | termios.ICANON)
    with _set(terminal, still, before):
        yield


@contextmanager
def usual(terminal: TextIO | None) -> Iterator[None]:
    """The terminal as other programs expect it."""
    if sys.platform == "win32" or terminal is None or not terminal.isatty():
        yield
        return
    before = termios.tcgetattr(terminal)
    plain = termios.tcgetattr(terminal)
    plain[0] |= termios.ICRNL
    plain[3] |= termios.ECHO | termios.ICANON
    with _set(terminal, plain, before):
        yield


@contextmanager
def _set(terminal: TextIO, modes: list[Any], before: list[Any]) -> Iterator[None]:
    if sys.platform != "win32":
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

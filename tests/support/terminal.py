"""A terminal of its own for a program, and what a person would see on it.

What the program writes goes through pyte, a terminal in memory; questions that programs ask of terminals are answered.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

import pyte

PATIENCE = 60.0  # seconds: interpreters start slowly where all cores are busy


class _Screen(pyte.Screen):
    """Answers where the cursor is, as terminals do."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], object]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


class Terminal:
    """A program on a terminal; `raw` is all that it wrote."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], *, columns: int = 80, rows: int = 24) -> None:
        self.child, self.handle = pty.fork()
        if self.child == 0:
            _set_size(0, columns, rows)
            os.execve(sys.executable, [sys.executable, *words], {**os.environ, **environ})
        self.raw = b""
        self._screen = _Screen(columns, rows, self.send)
        self._stream = pyte.ByteStream(self._screen)
        self._ended = False

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the empty lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def send(self, data: str | bytes) -> None:
        os.write(self.handle, data.encode() if isinstance(data, str) else data)

    def paste(self, text: str) -> None:
        """As terminals hand it over."""
        self.send(f"\x1b[200~{text}\x1b[201~")

    def wait(self, wanted: str | Callable[[], bool]) -> "Terminal":
        """Until this stands on the screen, or is so."""
        until = monotonic() + PATIENCE

        def reached() -> bool:
            return wanted in self.text if isinstance(wanted, str) else wanted()

        while not reached():
            assert monotonic() < until, f"{wanted!r} does not come; the screen shows:\n{self.text}"
            assert not self._ended, f"{wanted!r} has not come; at the end the screen shows:\n{self.text}"
            self._read(0.2)
        return self

    def resize(self, columns: int, rows: int) -> None:
        _set_size(self.handle, columns, rows)
        self._screen.resize(rows, columns)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.child, number)

    @property
    def echoes(self) -> bool:
        """Whether the terminal is as shells leave it: it shows what is typed, and hands it over line by line."""
        modes = termios.tcgetattr(self.handle)[3]
        return bool(modes & termios.ECHO and modes & termios.ICANON and modes & termios.ISIG)

    def end(self) -> int:
        """Wait until the program has ended; its exit code, negative for a signal."""
        until = monotonic() + PATIENCE
        done = status = 0
        while not done:
            assert monotonic() < until, f"it does not end; the screen shows:\n{self.text}"
            self._read(0.05)
            done, status = os.waitpid(self.child, os.WNOHANG)
        self._read(0.05)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self.handle)

    def _read(self, seconds: float) -> None:
        while select.select([self.handle], [], [], seconds)[0]:
            try:
                chunk = os.read(self.handle, 65536)
            except OSError:  # Linux: the other side is closed
                chunk = b""
            if not chunk:
                self._ended = True
                return
            self.raw += chunk
            self._stream.feed(chunk)
            seconds = 0.0


def _set_size(handle: int, columns: int, rows: int) -> None:
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

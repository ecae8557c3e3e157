"""The only place that prints.

Answers go to standard output, everything else to standard error. What is printed is escaped (`escapes`), except an
answer that goes into a pipe or a file, which stays byte for byte what the model said.
"""

import errno
import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from rich.cells import cell_len

from .errors import OutputFailed, ReaderLeft
from .escapes import TerminalText, visible
from .progress import Bars, LineBars, NoBars, TerminalBars


class Output:
    """Where a command's words go. `json` says that the user wants data instead of text; `quiet`, only what matters."""

    def __init__(
        self,
        stdout: TextIO | None,
        stderr: TextIO | None,
        environ: Mapping[str, str],
        *,
        json: bool = False,
        quiet: bool = False,
    ) -> None:
        self._stdout, self._stderr, self._environ = stdout, stderr, environ
        self.json, self.quiet = json, quiet

    def answer(self, text: str) -> None:
        """A whole answer, and the end of its line."""
        stream = self.stream()
        stream.write(text)
        stream.finish()

    def stream(self) -> "AnswerStream":
        """An answer that comes in chunks."""
        return AnswerStream(self)

    def line(self, text: str) -> None:
        """A line of text that is itself the result of a command."""
        self.raw(f"{visible(text)}\n")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows under their header, in columns; the last column is as long as it likes."""
        for row in _columns([list(header), *([visible(_one_line(cell)) for cell in row] for row in rows)]):
            self.raw(f"{row}\n")

    def entries(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and what each is; at a terminal no word is broken by its edge."""
        all_rows = list(rows)
        first = max(len(name) for name, _ in all_rows) + 4
        room = max(shutil.get_terminal_size().columns - first, 20)
        for name, text in all_rows:
            parts = textwrap.wrap(text, room) if self.answers_terminal else [text]
            for place, part in enumerate(parts):
                self.line(f"  {'' if place else name:<{first - 2}}{part}")

    def data(self, value: object) -> None:
        """`value` as JSON."""
        self.raw(f"{visible(json.dumps(value, ensure_ascii=False, indent=2))}\n")

    def say(self, text: str) -> None:
        """Something worth knowing, on standard error."""
        if not self.quiet:
            self._tell(visible(text))

    def note(self, text: str) -> None:
        """Something said even when quiet, on standard error."""
        self._tell(visible(text))

    def warn(self, text: str) -> None:
        self._tell(f"{self._paint('warning:', 33)} {visible(text)}")

    def fail(self, message: str, hint: str | None = None) -> None:
        """Why a command ends, and what to do next."""
        self._tell(f"{self._paint('error:', 31)} {visible(message)}")
        if hint:
            self._tell(f"{self._paint('hint:', 36)} {visible(hint)}")

    def prompt(self, text: str) -> None:
        """Ask for a line, on standard error."""
        if self._stderr is not None:
            self._stderr.write(text)
            self._stderr.flush()

    def bars(self) -> Bars:
        """Progress on standard error: bars on a terminal, plain lines elsewhere, nothing when quiet."""
        if self.quiet or self._stderr is None:
            return NoBars()
        return TerminalBars(self._stderr, self._environ) if self.steers_stderr else LineBars(self._tell)

    @property
    def answers_terminal(self) -> bool:
        """Whether a person reads the answers."""
        return _is_terminal(self._stdout)

    @property
    def steers_stderr(self) -> bool:
        """Whether standard error understands escape codes."""
        return _is_terminal(self._stderr) and self._environ.get("TERM") != "dumb"

    @property
    def dims(self) -> bool:
        """Whether standard output can show that something matters less."""
        plain = self._environ.get("NO_COLOR") or self._environ.get("TERM", "") in ("", "dumb")
        return self.answers_terminal and not plain

    def dimmed(self, text: str) -> str:
        """`text` as standard output shows what matters less."""
        return f"\x1b[2m{text}\x1b[0m" if self.dims else text

    def raw(self, text: str) -> None:
        """Text on standard output, as it is."""
        if self._stdout is None:
            raise OutputFailed("it is closed")
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except (OSError, ValueError) as error:
            raise _lost(error) from error

    def _tell(self, text: str) -> None:
        """A line on standard error. Who has closed it does not want to hear."""
        if self._stderr is None:
            return
        try:
            self._stderr.write(f"{text}\n")
            self._stderr.flush()
        except (OSError, ValueError):
            self._stderr = None

    def _paint(self, word: str, colour: int) -> str:
        plain = not self.steers_stderr or bool(self._environ.get("NO_COLOR"))
        return word if plain else f"\x1b[1;{colour}m{word}\x1b[0m"


class AnswerStream:
    """One answer on its way to standard output."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._filter = TerminalText() if output.answers_terminal else None
        self._thoughts = TerminalText()
        self._thinks = False
        self._ended_line = True

    def think(self, chunk: str) -> None:
        """What is thought before the answer: on a terminal, dim or between two lines that say what it is; an answer in
        a pipe has none of it.
        """
        shown = self._thoughts.push(chunk) if self._filter else ""
        if not shown:
            return
        if not self._thinks and not self._output.dims:
            self._put("Thinking...\n")
        self._thinks = True
        self._put(self._output.dimmed(shown))

    def write(self, chunk: str) -> None:
        if self._thinks and chunk:
            self._end_thought()
        self._put(self._filter.push(chunk) if self._filter else chunk)

    def finish(self) -> None:
        """Show what was held back, and end the line."""
        if self._thinks:
            self._end_thought()
        if self._filter:
            self._put(self._filter.finish())
        if not self._ended_line:
            self._put("\n")

    def aside(self, text: str) -> None:
        """Say something in the middle, on standard error. On a terminal it gets a line of its own."""
        if self._filter and not self._ended_line:
            self._put("\n")
        self._output.note(text)

    def _end_thought(self) -> None:
        self._thinks = False
        self._put("\n\n" if self._output.dims else "\n...done thinking.\n\n")

    def _put(self, text: str) -> None:
        if text:
            self._output.raw(text)
            self._ended_line = text.endswith("\n")


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["   ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _lost(error: OSError | ValueError) -> OutputFailed | ReaderLeft:
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return ReaderLeft()
    return OutputFailed(error.strerror or str(error) if isinstance(error, OSError) else str(error))

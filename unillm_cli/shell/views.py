"""How an answer is shown while it comes: Markdown on a terminal that can, plain text elsewhere."""

import shutil
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from ..escapes import TerminalText
from ..output import Output
from ..session import Session

if TYPE_CHECKING:
    from .markdown import Page

NARROWEST: Final = 20  # columns: below, lines are better left to the terminal
_OFTEN, _SHARE = 0.03, 4  # seconds between two paintings, and how many times as long as one painting took


class View(Protocol):
    """One answer on its way to a reader."""

    def think(self, chunk: str) -> None: ...
    def write(self, chunk: str) -> None: ...
    def finish(self) -> None: ...


def view(session: Session, *, markdown: bool) -> View:
    """The best that standard output is able to show."""
    if markdown and session.output.dims and shutil.get_terminal_size().columns >= NARROWEST:
        from .markdown import Page  # late: it takes longer to import than the first prompt may

        return Painted(session.output, Page(_colours(session)))
    return session.output.stream()


class Painted:
    """Markdown, rendered as it comes. A block that is finished is printed for good; the last one may still change."""

    def __init__(self, output: Output, page: "Page") -> None:
        from .painting import Region

        self._write, self._page = output.raw, page
        self._region = Region(output.raw)
        self._filter, self._thoughts = TerminalText(), TerminalText()
        self._thinks = False
        self._text, self._width = "", 0
        self._next = 0.0

    def think(self, chunk: str) -> None:
        shown = self._thoughts.push(chunk)
        if shown:
            self._write(f"\x1b[2m{shown}\x1b[0m")
            self._thinks = True

    def write(self, chunk: str) -> None:
        if not chunk:
            return
        self._end_thought()
        self._text += self._filter.push(chunk)
        if monotonic() >= self._next:
            self._paint()

    def finish(self) -> None:
        self._end_thought()
        self._text += self._filter.finish()
        self._paint()
        self._region.settle()
        self._write("\n")

    def _end_thought(self) -> None:
        if self._thinks:
            self._thinks = False
            self._write("\n\n")

    def _paint(self) -> None:
        began = monotonic()
        columns, rows = shutil.get_terminal_size()
        if columns - 1 != self._width and self._width:
            self._region.settle()  # the terminal has moved our lines about: below them begins what is ours to change
        self._width = columns - 1
        finished: list[str] = []
        while done := self._page.finished(self._text):
            finished += [*self._lines(self._text[:done]), ""]
            self._text = self._text[done:]
        if self._text.strip():
            self._region.show([*finished, *self._lines(self._text)], rows)
            self._region.release(len(finished))
        self._next = began + max(_OFTEN, _SHARE * (monotonic() - began))

    def _lines(self, text: str) -> list[str]:
        return self._page.lines(text, self._width)


def _colours(session: Session) -> str:
    """How many colours the terminal has, as far as it says."""
    if session.environ.get("COLORTERM", "") in ("truecolor", "24bit"):
        return "truecolor"
    return "256" if "256" in session.environ.get("TERM", "") else "standard"

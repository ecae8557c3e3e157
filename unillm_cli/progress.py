"""How far something is: bars on a terminal, now and then a line elsewhere.

It knows names, bytes done and bytes in all; not what is being done.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from ..registry.amounts import bytes_text
from .escapes import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars(Protocol):
    """Several things under way, each by its name."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def advance(self, name: str, done: int, total: int | None) -> None:
        """`done` of `total` bytes of `name` are there; a total of None is not known."""
        ...

    def say(self, text: str) -> None:
        """A line between the bars."""
        ...


class NoBars:
    """For who wants to hear nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, name: str, done: int, total: int | None) -> None:
        return None

    def say(self, text: str) -> None:
        return None


class LineBars(NoBars):
    """A plain line when a thing begins, every few seconds, and when it is done."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = monotonic, every: float = 5.0) -> None:
        self._tell, self._clock, self._every = tell, clock, every
        self._told: dict[str, float] = {}

    def advance(self, name: str, done: int, total: int | None) -> None:
        now, done_all = self._clock(), done == total
        if name in self._told and not done_all and now - self._told[name] < self._every:
            return
        if self._told.get(name) != float("inf"):
            self._told[name] = float("inf") if done_all else now
            self._tell(f"{visible(name)}: {_share(done, total)}")

    def say(self, text: str) -> None:
        self._tell(visible(text))


class TerminalBars:
    """Bars that redraw themselves on standard error."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream, self._environ = stream, environ
        self._tasks: dict[str, TaskID] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, name: str, done: int, total: int | None) -> None:
        progress = self._started()
        if name not in self._tasks:
            self._tasks[name] = progress.add_task(visible(name), total=total)
        progress.update(self._tasks[name], completed=done, total=total)

    def say(self, text: str) -> None:
        if self._progress is None:
            self._stream.write(f"{visible(text)}\n")
            self._stream.flush()
        else:
            self._progress.console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def _started(self) -> "Progress":
        """The bars, drawn from the first one on: where nothing is to be shown, no escape code is written."""
        if self._progress is None:
            self._progress = _rich_progress(self._stream, self._environ)
            self._progress.start()
        return self._progress


def _rich_progress(stream: TextIO, environ: Mapping[str, str]) -> "Progress":
    """Imported late: rich's bars take longer to import than most commands take to run."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(file=stream, _environ=environ)
    name = TextColumn("{task.description}", markup=False)
    return Progress(name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=console)


def _share(done: int, total: int | None) -> str:
    if total is None:
        return bytes_text(done)
    return f"{done * 100 // total if total else 100} % of {bytes_text(total)}"

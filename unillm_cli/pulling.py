"""How a pull is told to a person: it hears the registry's events, and shows bars and lines on standard error."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ..registry.amounts import bytes_text
from ..registry.events import Event, Notice, Planned, Progress, Shelved, SourceChosen, Verifying
from .output import Output
from .progress import Bars


class PullReport:
    """A listener; while it is entered, it may draw."""

    def __init__(self, output: Output) -> None:
        self._bars: Bars = output.bars()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._bars)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __call__(self, event: Event) -> None:
        match event:
            case Progress(file, done, total):
                self._bars.advance(file, done, total)
            case SourceChosen(name, source, reason):
                self._bars.say(f"{name}: from {source} ({reason})")
            case Verifying(file):
                self._bars.say(f"verifying {file}")
            case Shelved(name):
                self._bars.say(f"{name} is here")
            case Notice(text):
                self._bars.say(text)
            case Planned(plan) if plan.missing:
                self._bars.say(f"fetching {bytes_text(plan.missing)}; {bytes_text(plan.free)} are free on that disk")
            case Planned():
                self._bars.say("every file is here already")

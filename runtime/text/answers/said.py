"""What readers of answers give: runs of thought, words and calls, in the order in which the model wrote them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ...results import ToolCall


@dataclass(frozen=True, slots=True)
class Said:
    """What is new of an answer: first what was thought, then what was said, then what is to be called.

    A `part` is what is new of a call whose arguments are still being written. The whole of it, by the same id, is among
    the `calls` once it has ended, before anything else comes.
    """

    text: str = ""
    thought: str = ""
    part: ToolCall | None = None
    calls: tuple[ToolCall, ...] = ()


class AnswerReader(Protocol):
    """Reads one answer. How its text is cut into pieces changes nothing of what comes out, all together.

    `over`: whatever follows is not of the answer any more, and the model may stop.
    """

    @property
    def over(self) -> bool: ...
    def push(self, text: str) -> list[Said]: ...
    def finish(self, *, cut: bool = False) -> list[Said]:
        """What was held back, now that nothing follows. `cut`: the model would have gone on."""
        ...


class Runs:
    """Collects what is said in order. Whatever would come out of order begins another run."""

    def __init__(self) -> None:
        self._runs: list[Said] = []

    def think(self, thought: str) -> None:
        if thought:
            last = self._last(follows=("text", "part", "calls"))
            self._runs[-1] = replace(last, thought=last.thought + thought)

    def say(self, text: str) -> None:
        if text:
            last = self._last(follows=("part", "calls"))
            self._runs[-1] = replace(last, text=last.text + text)

    def part(self, part: ToolCall) -> None:
        if part.arguments:
            last = self._last(follows=("calls",))
            before = "" if last.part is None else last.part.arguments
            self._runs[-1] = replace(last, part=replace(part, arguments=before + part.arguments))

    def call(self, calls: Sequence[ToolCall]) -> None:
        if calls:
            last = self._last(follows=())
            self._runs[-1] = replace(last, calls=(*last.calls, *calls))

    def taken(self) -> list[Said]:
        """What was collected, which is then forgotten."""
        runs, self._runs = self._runs, []
        return runs

    def _last(self, follows: Sequence[str]) -> Said:
        """The run that goes on: a new one where the last has any of what would come after."""
        if not self._runs or any(getattr(self._runs[-1], name) for name in follows):
            self._runs.append(Said())
        return self._runs[-1]


def whole(runs: Sequence[Said]) -> Said:
    """All of it as one run, in which no call is in parts."""
    return Said(
        "".join(run.text for run in runs),
        "".join(run.thought for run in runs),
        calls=tuple(call for run in runs for call in run.calls),
    )

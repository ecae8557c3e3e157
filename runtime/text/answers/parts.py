"""Calls as they are written: each by its name, then its arguments as they come, where those are JSON behind the name.

What was told of a call cannot be taken back: one that turns out to be malformed ends as one that was cut does, with
whatever was written as its arguments. Nothing is told of a call before its name is seen to be one of the tools.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Final

from ...results import ToolCall
from ..marks import Marks
from .calls import CallStyle, Schemas, new_id
from .cut import spoken_name
from .said import Runs

LONGEST_HEAD: Final = 512  # characters from where a call may begin to its arguments
_AROUND: Final = r"[\s,;`\[\]}]"  # what stands between calls
_AFTER: Final = " \t\r\n`]},;"
_MAY_STAND: Final = frozenset(' \t\r\n,:+-.0123456789eEtrufalsn{}[]"')  # outside the texts of JSON


@dataclass(slots=True, eq=False)
class CallParts:
    """The calls in what may become one or more, from one mark to the next. `told` of them are complete.

    `place`: up to there it was read. From the first on that is written in another way, all that follow come whole.
    """

    style: CallStyle
    tools: Schemas
    runs: Runs
    one_call: bool
    told: int = field(default=0, init=False)
    place: int = field(default=0, init=False)
    _call: ToolCall | None = field(default=None, init=False)  # whose arguments are being written
    _start: int = field(default=0, init=False)  # of these
    _depth: int = field(default=0, init=False)
    _in_text: bool = field(default=False, init=False)
    _escaped: bool = field(default=False, init=False)
    _off: bool = field(default=False, init=False)
    _begins: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        marks = "|".join(map(re.escape, (*self.style.openings, *self.style.inner)))
        self._begins = re.compile(rf"(?:{_AROUND}{'|' * bool(marks)}{marks})*?{self.style.begins}\s*(?=\{{)")

    @property
    def is_open(self) -> bool:
        return self._call is not None

    @property
    def began(self) -> bool:
        return self.is_open or self.told > 0

    def read(self, text: str, closings: Marks, start: int) -> None:
        """Tell what is new in `text`, all of it that there is; `closings` end it, from `start` on."""
        while not self._off and (
            self._go_on(text, closings, self._call) if self._call else self._begin(text, closings, start)
        ):
            pass

    def end(self, text: str) -> int:
        """`text` is no call after all: what was begun is over. Where that ends which was told."""
        if self._call is None:
            rest = text[self.place :].lstrip(_AFTER)
            return len(text) - len(rest.removeprefix(self.style.closing or ""))
        self._tell(self._call, text, max(self.place, len(text.removesuffix(self.style.closing or ""))))
        self._close(self._call, text)
        return len(text)

    def _begin(self, text: str, closings: Marks, start: int) -> bool:
        found = closings.find(text, max(self.place, start))
        end = len(text) - closings.hopeful(text) if found is None else found.start()
        begun = self._begins.match(text, self.place, min(end, self.place + LONGEST_HEAD))
        if begun is None:
            self._off = end - self.place >= LONGEST_HEAD
            return False
        name = spoken_name(self.style, begun["name"])
        if name not in self.tools:
            self._off = True
            return False
        self._call = ToolCall(begun.groupdict().get("id") or new_id(), name, "")
        self._start = self.place = begun.end()
        return True

    def _go_on(self, text: str, closings: Marks, call: ToolCall) -> bool:
        """Tell as much as belongs to the arguments. True when they are complete."""
        self._tell(call, text, self._end(text, closings))
        if self._depth or self._off:
            return False
        self._close(call, text)
        self._off = self.one_call
        return True

    def _tell(self, call: ToolCall, text: str, end: int) -> None:
        self.runs.part(replace(call, arguments=text[self.place : end]))
        self.place = end

    def _close(self, call: ToolCall, text: str) -> None:
        self.runs.call([replace(call, arguments=text[self._start : self.place])])
        self.told += 1
        self._call = None

    def _end(self, text: str, closings: Marks) -> int:
        """How far the object goes that is being read: to its end, to what is no JSON, or to what may become a mark."""
        known = max(self.place, len(text) - closings.hopeful(text))
        for place in range(self.place, known):
            letter = text[place]
            if self._escaped:
                self._escaped = False
            elif self._in_text:
                self._escaped, self._in_text = letter == "\\", letter != '"'
            elif letter not in _MAY_STAND or closings.stands_at(text, place):
                self._off = True
                return place
            elif letter == '"':
                self._in_text = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if not self._depth:
                    return place + 1
        return known

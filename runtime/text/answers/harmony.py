"""gpt-oss: an answer is messages, each with a header that says on which channel it is, and to whom.

    <|channel|>analysis<|message|>So.<|end|><|start|>assistant to=functions.weather<|channel|>commentary json<|message|>
    {"place": "Oslo"}<|call|>

What is analysed is thought; what goes to one of the functions is a call; all else is said.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ...results import ToolCall
from ..marks import Marks
from .calls import CallStyle, Layout, Malformed, Part, Schemas, call, new_id, parsed
from .said import Runs, Said

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
THOUGHT, NEXT = f"{CHANNEL}analysis{MESSAGE}", f"{START}assistant"  # how a thought begins, and what follows its end
MARKS: Final = (START, CHANNEL, MESSAGE, CONSTRAIN, END, CALL, RETURN)
LONGEST_HEADER: Final = 512  # characters

_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_BEGINS: Final = (CHANNEL, START, MESSAGE, "assistant", "to=")
_ENDS: Final = Marks((END, CALL, RETURN, START))


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    """A whole message that is a call."""
    header, mark, body = text.partition(MESSAGE)
    recipient = _RECIPIENT.search(header)
    if not mark or recipient is None:
        raise Malformed
    end = _ENDS.find(body)
    return [call(recipient[1], parsed(body if end is None else body[: end.start()]))]


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{CHANNEL}commentary to=functions.{name} {CONSTRAIN}json{MESSAGE}", schema]


HARMONY = CallStyle(
    shown_by=((CHANNEL, "analysis"),),
    openings=(),
    closing=None,
    read=read,
    layout=Layout(one, several=False),
)


@dataclass(slots=True, eq=False)
class HarmonyReader:
    """`calls`: whether what goes to functions is a call; else it is said. `one_call`: the answer is over with its
    first, as it is with the mark that ends a turn. `must`: it has to be a call. `in_parts`: calls of tools are told as
    they are written.
    """

    calls: bool = True
    tools: Schemas = field(default_factory=dict)
    one_call: bool = False
    must: bool = False
    in_parts: bool = False
    over: bool = field(default=False, init=False)
    _held: str = field(default="", init=False)
    _runs: Runs = field(default_factory=Runs, init=False)
    _header: str | None = field(default=None, init=False)  # of the message that is being read
    _part: ToolCall | None = field(default=None, init=False)  # what was told of the call that is being read
    _free: bool = field(default=False, init=False)  # it was no message at all: text without marks

    def push(self, text: str) -> list[Said]:
        self._held += text
        self._read_on()
        return self._runs.taken()

    def finish(self, *, cut: bool = False) -> list[Said]:
        header, held, self._held = self._header, "" if self.over else self._held, ""
        if header is not None:
            self._end(header, held, cut=cut)
        elif cut and self.must:
            pass  # the beginning of a call, or the mark before it
        elif self._free or not held.strip().startswith(START):
            self._runs.say(held)
        return self._runs.taken()

    def _read_on(self) -> None:
        while not self.over and (self._begin() if self._header is None else self._go_on(self._header)):
            pass

    def _begin(self) -> bool:
        """Read a header; what begins without one is said as it is."""
        if self._free:
            told = self._held[: len(self._held) - _ENDS.hopeful(self._held)]
            self._runs.say(told)
            self._held = self._held[len(told) :]
            return False
        header, mark, rest = self._held.partition(MESSAGE)
        if mark and len(header) <= LONGEST_HEADER:
            self._header, self._held = header, rest
            return True
        lead = self._held.lstrip()
        may = any(begin.startswith(lead) or lead.startswith(begin) for begin in _BEGINS)
        self._free = not may or len(self._held) > LONGEST_HEADER + len(MESSAGE)
        return self._free

    def _go_on(self, header: str) -> bool:
        found = _ENDS.find(self._held)
        if found is None:
            if not self._is_call(header):
                told = self._held[: len(self._held) - _ENDS.hopeful(self._held)]
                self._tell(header, told)
                self._held = self._held[len(told) :]
            else:
                self._tell_part(header, self._held[: len(self._held) - _ENDS.hopeful(self._held)])
            return False
        self._end(header, self._held[: found.start()])
        self._header = None
        self.over = self.over or found[0] in (CALL, RETURN)
        self._held = self._held[found.start() if found[0] == START else found.end() :]
        return True

    def _end(self, header: str, body: str, *, cut: bool = False) -> None:
        if not self._is_call(header):
            self._tell(header, body)
            return
        self._tell_part(header, body)
        if self._part is not None:
            self._runs.call([self._part])
            self._part, self.over = None, self.one_call
            return
        try:
            self._runs.call(read(f"{header}{MESSAGE}{body}", self.tools))
            self.over = self.one_call
        except Malformed:
            recipient = _RECIPIENT.search(header)
            if cut and recipient is not None:
                self._runs.call([ToolCall(new_id(), recipient[1], body.lstrip())])
            else:
                self._runs.say(f"{header}{MESSAGE}{body}")

    def _tell_part(self, header: str, body: str) -> None:
        """What is new of a call, of which `body` is there."""
        body, recipient = body.lstrip(), _RECIPIENT.search(header)
        if not self.in_parts or recipient is None or recipient[1] not in self.tools or not body.startswith("{"):
            return
        told = self._part or ToolCall(new_id(), recipient[1], "")
        self._runs.part(replace(told, arguments=body[len(told.arguments) :]))
        self._part = replace(told, arguments=body)

    def _tell(self, header: str, text: str) -> None:
        channel = _CHANNEL.search(header)
        if channel is not None and channel[1] == "analysis":
            self._runs.think(text)
        else:
            self._runs.say(text)

    def _is_call(self, header: str) -> bool:
        return self.calls and _RECIPIENT.search(header) is not None

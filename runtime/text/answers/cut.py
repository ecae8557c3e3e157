"""Calls that break off, because the answer was cut: which tool is meant, and as much of its arguments as there is."""

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Final, TypeAlias

from ...results import ToolCall
from .calls import CallStyle, Malformed, Schemas, new_id, parsed_first

_AROUND: Final = " \t\r\n[,"  # what stands before and between calls
_PARTS: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|[\[\]{},]', re.DOTALL)
_CLOSING: Final = {"{": "}", "[": "]"}
_MOST_TRIES: Final = 64

_Opened: TypeAlias = tuple[str, "_Opened"] | None  # what closes the innermost, and what is around it


def cut_calls(style: CallStyle, text: str, tools: Schemas) -> list[ToolCall]:
    """The calls of a `text` in which the last may break off. None where it does so before its name is whole."""
    begun, place = list[re.Match[str]](), 0
    for found in re.finditer(style.begins, text):
        if found.start() >= place:  # else it is a part of the arguments before it
            begun.append(found)
            place = _end(text, found.end()) if style.writes_json else found.end()
    if not begun or _stripped(style, text[: begun[0].start()]):
        return []
    last = begun[-1]
    arguments = text[last.end() : place] if style.writes_json else "{"
    made = ToolCall(new_id(), spoken_name(style, last["name"]), arguments if arguments.startswith("{") else "")
    return [*(_before(style, text[: last.start()], tools) if len(begun) > 1 else ()), made]


def whole_members(arguments: str) -> str:
    """JSON of an object that breaks off, as an object: what in it is whole."""
    for end, opened in reversed(deque(_places(arguments), maxlen=_MOST_TRIES)):
        whole = arguments[:end] + "".join(_closings(opened))
        if ToolCall("", "", whole).is_whole:
            return whole
    return "{}"


def spoken_name(style: CallStyle, written: str) -> str:
    """A name as it stands, or as the inside of a text of JSON."""
    try:
        return str(json.loads(f'"{written}"')) if style.writes_json else written.strip()
    except ValueError:
        return written


def _places(arguments: str) -> Iterator[tuple[int, _Opened]]:
    """Where it may be broken off, and what is open there: a chain, for an answer may nest as deep as it is long."""
    opened: _Opened = None
    for part in _PARTS.finditer(arguments):
        if part[0] in _CLOSING:
            opened = (_CLOSING[part[0]], opened)
            yield part.end(), opened
        elif part[0] == ",":
            yield part.start(), opened
        elif opened is not None and part[0] == opened[0]:
            opened = opened[1]
            yield part.end(), opened


def _closings(opened: _Opened) -> Iterator[str]:
    """From the innermost on."""
    while opened is not None:
        yield opened[0]
        opened = opened[1]


def _end(text: str, start: int) -> int:
    try:
        return parsed_first(text, start)[1]
    except Malformed:
        return len(text)


def _stripped(style: CallStyle, text: str) -> str:
    """What stands before the first call, but for what always does."""
    text = text.strip()
    return next((text.removeprefix(mark) for mark in style.openings if text.startswith(mark)), text).strip(_AROUND)


def _before(style: CallStyle, text: str, tools: Schemas) -> list[ToolCall]:
    """The calls before the one that breaks off."""
    text = text.rstrip(_AROUND)
    for whole in (text, f"{text}]"):
        try:
            return style.read(whole, tools)
        except Malformed:
            continue
    return []

"""Mistral, whose ways have changed: `[TOOL_CALLS]` and a list of JSON at first, later a mark, a name and `[ARGS]` each.

[TOOL_CALLS][{"name": "weather", "arguments": {"place": "Oslo"}}]
[TOOL_CALLS]weather[CALL_ID]abcdefgh1[ARGS]{"place": "Oslo"}
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Message, Part, Schemas, call, calls_in, literal, parsed

MARK, ARGUMENTS, ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ID = re.compile(r"[a-zA-Z0-9]{9}")


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    body = text.strip().removeprefix(MARK).strip()
    name, mark, arguments = body.partition(ARGUMENTS)
    if not mark:
        return calls_in(body)
    name, _, known = name.partition(ID)
    if "{" in name:
        raise Malformed
    made = call(name.strip(), parsed(arguments))
    return [replace(made, id=known.strip()) if _ID.fullmatch(known.strip()) else made]


def with_short_ids(messages: Sequence[Message], _tools: Sequence[Any]) -> list[Message]:
    """Other clients' ids are longer than these templates allow."""
    return [_with_short_ids(message) for message in messages]


def _with_short_ids(message: Message) -> Message:
    changed = dict(message)
    if isinstance(message.get("tool_call_id"), str):
        changed["tool_call_id"] = _short(message["tool_call_id"])
    if isinstance(message.get("tool_calls"), Sequence):
        changed["tool_calls"] = [
            {**one, "id": _short(str(one["id"]))} if isinstance(one, Mapping) and "id" in one else one
            for one in message["tool_calls"]
        ]
    return changed


def _short(known: str) -> str:
    return known if _ID.fullmatch(known) else hashlib.sha256(known.encode(errors="replace")).hexdigest()[:9]


def _listed(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f'{{"name": "{literal(name)}", "arguments": ', schema, "}"]


def _marked(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{MARK}{name}{ARGUMENTS}", schema]


MISTRAL = CallStyle(
    shown_by=((MARK,),),
    openings=(MARK,),
    closing=None,
    read=read,
    inner=(ARGUMENTS, ID),
    layout=Layout(_listed, before=f"{MARK}[", between=", ", after="]"),
    prepare=with_short_ids,
)
MISTRAL_MARKED = replace(
    MISTRAL,
    shown_by=((MARK, ARGUMENTS),),
    layout=Layout(_marked),
    begins=r"(?:\[TOOL_CALLS\])?\s*(?P<name>[^\[{\s]+)(?:\[CALL_ID\](?:(?P<id>[a-zA-Z0-9]{9})|[^\[]*))?\[ARGS\]\s*",
)

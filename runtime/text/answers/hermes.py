"""Hermes, Qwen 2.5 and 3, MiniMind, Granite 4, and many after them: JSON between `<tool_call>` and `</tool_call>`."""

from collections.abc import Mapping
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Part, Schemas, between, calls_in, literal

OPENING, CLOSING = "<tool_call>", "</tool_call>"


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    return calls_in(between(text, OPENING, CLOSING))


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f'{OPENING}\n{{"name": "{literal(name)}", "arguments": ', schema, f"}}\n{CLOSING}"]


HERMES = CallStyle(
    shown_by=((OPENING, '"arguments'), (OPENING, "'arguments")),
    openings=(OPENING,),
    closing=CLOSING,
    read=read,
    layout=Layout(one, between="\n"),
)

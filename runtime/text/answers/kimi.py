"""Kimi K2: a section of calls, each named `functions.weather:0`."""

import re
from collections.abc import Mapping
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, between, call, parsed

OPENING, CLOSING = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
BEGIN, ARGUMENTS, END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    before, *written = between(text, OPENING, CLOSING).split(BEGIN)
    if before.strip() or not written:
        raise Malformed
    return [_read_one(one.strip().removesuffix(END)) for one in written]


def _read_one(text: str) -> ToolCall:
    name, mark, arguments = text.partition(ARGUMENTS)
    if not mark:
        raise Malformed
    return call(name.strip().removeprefix("functions.").rpartition(":")[0], parsed(arguments))


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{BEGIN}functions.{name}:0{ARGUMENTS}", schema, END]


KIMI = CallStyle(
    shown_by=((OPENING,),),
    openings=(OPENING,),
    closing=CLOSING,
    read=read,
    layout=Layout(one, before=OPENING, after=CLOSING),
    inner=(BEGIN, ARGUMENTS, END),
    begins=rf"{re.escape(BEGIN)}\s*(?:functions\.)?(?P<name>.+?):[^<]*{re.escape(ARGUMENTS)}\s*",
)

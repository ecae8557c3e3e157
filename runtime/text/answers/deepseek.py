"""DeepSeek V3, R1 and V3.1: a block of calls, each with a separator behind the name; its JSON is fenced before V3.1."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, between, call, parsed

OPENING, CLOSING = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
BEGIN, SEPARATOR, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
KIND = "function"
_FENCED = re.compile(r"([^\n]*)\n```(?:json)?\n(.*)\n```\s*", re.DOTALL)


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    body = between(text, OPENING, CLOSING).strip()
    written = [one.strip().removesuffix(END) for one in body.split(BEGIN)]
    if written[0].strip() or len(written) == 1:
        raise Malformed
    return [_read_one(one) for one in written[1:]]


def _read_one(text: str) -> ToolCall:
    first, mark, rest = text.partition(SEPARATOR)
    if not mark:
        raise Malformed
    fenced = _FENCED.fullmatch(rest)
    if fenced is not None:
        return call(fenced[1].strip(), parsed(fenced[2]))
    return call(first.strip(), parsed(rest))


def _fenced(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{BEGIN}{KIND}{SEPARATOR}{name}\n```json\n", schema, f"\n```{END}"]


def _bare(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{BEGIN}{name}{SEPARATOR}", schema, END]


DEEPSEEK = CallStyle(
    shown_by=((OPENING,),),
    openings=(OPENING,),
    closing=CLOSING,
    read=read,
    inner=(BEGIN, SEPARATOR, END),
    layout=Layout(_bare, before=OPENING, after=CLOSING),
    begins=rf"{BEGIN}\s*(?P<name>[^<\n]+){SEPARATOR}",
)
DEEPSEEK_FENCED = replace(
    DEEPSEEK,
    shown_by=((OPENING, "```json"),),
    layout=Layout(_fenced, before=OPENING, between="\n", after=CLOSING),
    begins=rf"{BEGIN}\s*{KIND}{SEPARATOR}(?P<name>[^\n]+)\n```(?:json)?\n",
)

"""Functionary 3.1, and Llama 3.1 for tools of one's own: `<function=weather>{"place": "Oslo"}</function>`."""

from collections.abc import Mapping
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Part, Schemas, between, call, parsed

OPENING, CLOSING = "<function=", "</function>"


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    name, _, arguments = between(text, OPENING, CLOSING).partition(">")
    return [call(name.strip(), parsed(arguments))]


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f"{OPENING}{name}>", schema, CLOSING]


FUNCTIONARY = CallStyle(
    shown_by=((OPENING, CLOSING),),
    openings=(OPENING,),
    closing=CLOSING,
    read=read,
    layout=Layout(one),
    begins=r"<function=(?P<name>[^>]+)>\s*",
)

"""All calls as one list of JSON behind a mark: Granite 3, Phi 4 mini, Command R7B, Apriel, Nemotron 2 and others."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Part, Schemas, between, calls_in, literal


def read(text: str, _tools: Schemas, *, opening: str, closing: str) -> list[ToolCall]:
    return calls_in(between(text, opening, closing))


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f'{{"name": "{literal(name)}", "arguments": ', schema, "}"]


def list_style(shown_by: str, opening: str, closing: str | None) -> CallStyle:
    return CallStyle(
        shown_by=((shown_by,),),
        openings=(opening,),
        closing=closing,
        read=partial(read, opening=opening, closing=closing or ""),
        layout=Layout(one, before=f"{opening}[", between=", ", after=f"]{closing or ''}"),
    )


def _cohere(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f'{{"tool_call_id": "0", "tool_name": "{literal(name)}", "parameters": ', schema, "}"]


APRIEL = list_style("<tool_calls>", "<tool_calls>", "</tool_calls>")  # and MiniMax M1, an object a line
NEMOTRON = list_style("<TOOLCALL>", "<TOOLCALL>", "</TOOLCALL>")
_COMMAND = list_style("<|START_ACTION|>", "<|START_ACTION|>", "<|END_ACTION|>")
COMMAND = replace(_COMMAND, layout=replace(_COMMAND.layout, one=_cohere))

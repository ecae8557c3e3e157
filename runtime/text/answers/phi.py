"""Phi 4 mini: a list of JSON between two marks. Its template reads the tools from the system's message, as text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .calls import Message, written
from .lists import list_style


def with_tools(messages: Sequence[Message], tools: Sequence[Any]) -> Sequence[Message]:
    if not tools:
        return messages
    system = dict(messages[0]) if messages and messages[0].get("role") == "system" else None
    rest = messages if system is None else messages[1:]
    return [{**(system or {"role": "system", "content": ""}), "tools": written(list(tools))}, *rest]


PHI = replace(list_style("<|tool|>", "<|tool_call|>", "<|/tool_call|>"), prepare=with_tools)

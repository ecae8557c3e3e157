"""Tools in Ollama's words: what is offered, what earlier messages called, and what the model wants called now."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from ...results import ToolCall
from .results import Called, CalledFunction
from .types import ChatMessage, Tool


def offered(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    """As models are offered them."""
    return [{"type": one.type, "function": one.function} for one in tools or ()]


def in_history(message: ChatMessage) -> dict[str, Any]:
    """What a message says of calls: those that the model made, or which one it answers."""
    calls = [
        {"id": one.id, "function": {"name": one.function.name, "arguments": one.function.arguments or {}}}
        for one in message.tool_calls or ()
    ]
    said = {"tool_calls": calls or None, "name": message.tool_name, "tool_call_id": message.tool_call_id}
    return {key: value for key, value in said.items() if value}


def told(calls: Sequence[ToolCall], before: int) -> list[Called]:
    """The calls, `before` others having been told already. One that was cut is none: its clients would call it."""
    return [
        Called(one.id, CalledFunction(place, one.name, Raw(one.arguments.encode())))
        for place, one in enumerate([call for call in calls if call.is_whole], start=before)
    ]

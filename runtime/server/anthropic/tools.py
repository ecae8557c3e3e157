"""Tools in Anthropic's words: what is offered, and the blocks of earlier messages that called or answered."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from ...results import ToolCall
from ...text.answers.cut import whole_members
from ..endpoint import invalid
from .results import ToolUse
from .types import Block, Conversation, Message

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def offered(body: Conversation) -> dict[str, Any]:
    """The fields of an `Ask` that tell of tools. Raises `Refused`."""
    tools = [
        {
            "type": "function",
            "function": {"name": one.name, "description": one.description or "", "parameters": one.input_schema},
        }
        for one in body.tools or ()
    ]
    wanted = body.tool_choice
    if wanted is None:
        return {"tools": tools}
    choice = _CHOICES.get(wanted.type) or _needed(wanted.name, "tool_choice.name")
    return {"tools": tools, "tool_choice": choice, "parallel_calls": not wanted.disable_parallel_tool_use}


def tool_use(call: ToolCall) -> ToolUse:
    """Of a call that was cut it has what is whole of its input, as Anthropic's own."""
    given = call.arguments if call.is_whole else whole_members(call.arguments)
    return ToolUse(call.id, call.name, Raw(given.encode()))


def in_history(message: Message, place: int) -> list[dict[str, Any]]:
    """A message as templates know them: what tools gave comes before what the user says of it."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    where = f"messages[{place}].content"
    given = [_given(block, f"{where}[{i}]") for i, block in _of("tool_result", message.content)]
    said = [_needed(block.text, f"{where}[{i}].text") for i, block in _of("text", message.content)]
    thought = [_needed(block.thinking, f"{where}[{i}].thinking") for i, block in _of("thinking", message.content)]
    calls = [_called(block, f"{where}[{i}]") for i, block in _of("tool_use", message.content)]
    told: dict[str, Any] = {"role": message.role, "content": "\n".join(said)}
    if thought:
        told["reasoning_content"] = "\n".join(thought)
    if calls:
        told["tool_calls"] = calls
    return given if given and not (said or calls) else [*given, told]


def _of(kind: str, blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    return [(place, block) for place, block in enumerate(blocks) if block.type == kind]


def _called(block: Block, where: str) -> dict[str, Any]:
    function = {"name": _needed(block.name, f"{where}.name"), "arguments": block.input or {}}
    return {"id": _needed(block.id, f"{where}.id"), "function": function}


def _given(block: Block, where: str) -> dict[str, Any]:
    content = block.content or ""
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    known = _needed(block.tool_use_id, f"{where}.tool_use_id")
    return {"role": "tool", "tool_call_id": known, "content": f"Error: {text}" if block.is_error else text}


def _needed(value: str | None, field: str) -> str:
    if value is None:
        raise invalid(field, f"{field} is missing")
    return value

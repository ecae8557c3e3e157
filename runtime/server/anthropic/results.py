"""What the endpoints answer, as types: the description of the interface is made of them too."""

from typing import Literal

from msgspec import Raw, Struct

Reason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class Text(Struct, tag_field="type", tag="text"):
    text: str
    citations: None = None


class Thinking(Struct, tag_field="type", tag="thinking"):
    """What the model thought. There is nothing to sign: it may come back as it is."""

    thinking: str
    signature: str = ""


class ToolUse(Struct, tag_field="type", tag="tool_use"):
    """A tool that the model wants called; `input` is an object."""

    id: str
    name: str
    input: Raw


class Usage(Struct):
    """Tokens counted. `input_tokens` are those of the prompt that were computed, the others were kept."""

    input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0


class Message(Struct, kw_only=True):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Text | Thinking | ToolUse]
    stop_reason: Reason | None
    stop_sequence: str | None
    usage: Usage


class Counted(Struct):
    input_tokens: int

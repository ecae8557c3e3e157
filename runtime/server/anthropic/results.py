"""What the endpoints answer, as types: the description of the interface is made of them too."""

from typing import Literal

from msgspec import Struct

Reason = Literal["end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded"]


class Text(Struct):
    text: str
    type: Literal["text"] = "text"
    citations: None = None


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
    content: list[Text]
    stop_reason: Reason | None
    stop_sequence: str | None
    usage: Usage


class Counted(Struct):
    input_tokens: int

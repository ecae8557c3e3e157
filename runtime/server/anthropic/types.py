"""Exactly what the endpoints accept. A field that is not here is refused by its name.

Fields typed `Nothing` or `NoItems` are known and not supported: they pass as long as they ask for nothing. `IGNORED`
fields are read and change nothing, on purpose: whoever asks, and what to cache, which happens by itself.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..limits import NoItems, Nothing, Positive, Priority, Schema, Share, Stops, Temperature, TopK

IGNORED = (
    "metadata",
    "service_tier",
    "cache_control",
    "system[].cache_control",
    "messages[].content[].cache_control",
    "messages[].content[].signature",
    "messages[].content[].caller",
    "tools[].cache_control",
    "tools[].strict",
    "thinking.budget_tokens",
    "thinking.display",
)


class CacheControl(Struct, kw_only=True, forbid_unknown_fields=True):
    """Ignored on purpose: what prompts share is kept by itself."""

    type: Literal["ephemeral"]
    ttl: str | None = None


class TextBlock(Struct, kw_only=True, forbid_unknown_fields=True):
    """`citations` of an earlier answer may come back empty."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: NoItems | None = None


class Block(Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of a message: text, what the model thought before, a tool that it called, or what that gave.

    Thoughts that are not for reading are left out. Images and documents are not supported.
    """

    type: Literal["text", "thinking", "redacted_thinking", "tool_use", "tool_result"]
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None
    caller: dict[str, Any] | None = None
    cache_control: CacheControl | None = None
    citations: NoItems | None = None


class Message(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Thinking(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether the model is to think first, where its chat template can say so."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Positive | None = None
    display: str | None = None


class JsonFormat(Struct, kw_only=True, forbid_unknown_fields=True):
    """JSON of that schema."""

    type: Literal["json_schema"]
    schema: Schema


class OutputConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`effort` reaches the chat template as `reasoning_effort`; `format` says what the answer must look like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the model may call. Where it must, its input is held to the schema, `strict` or not."""

    name: Annotated[str, Meta(min_length=1)]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class ToolChoice(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether a tool must be called: any, or the one that is named."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Conversation(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a prompt is made of."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None

    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    mcp_servers: NoItems | None = None


class MessagesBody(Conversation, kw_only=True, forbid_unknown_fields=True):
    """`keep_alive`, `min_p` and `priority` are ours."""

    max_tokens: Positive
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    stop_sequences: Stops | None = None

    min_p: Share | None = None
    priority: Priority | None = None
    keep_alive: float | str | None = None

    metadata: dict[str, Any] | None = None
    service_tier: str | None = None

    container: Nothing = None


class CountBody(Conversation, kw_only=True, forbid_unknown_fields=True):
    """A conversation whose tokens are to be counted."""

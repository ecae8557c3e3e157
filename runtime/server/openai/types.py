"""Exactly what the generating endpoints accept. A field that is not here is refused by its name.

Fields typed `Nothing` or `NoItems` are known and not supported: they pass as long as they ask for nothing. `IGNORED`
fields are read and change nothing, on purpose: who asks, for whom it is kept, and hints that change no answer.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ..limits import (
    Above,
    Alternatives,
    Answers,
    Bias,
    Choices,
    Count,
    NoItems,
    Nothing,
    Penalty,
    Priority,
    Schema,
    Seed,
    Share,
    Stop,
    Stops,
    Temperature,
    Token,
    TopK,
)

Name = Annotated[str, Meta(min_length=1)]
Metadata = dict[str, str]

IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prediction",
    "tools[].strict",
    "response_format.json_schema.name",
    "response_format.json_schema.description",
    "response_format.json_schema.strict",
    "text.format.name",
    "text.format.description",
    "text.format.strict",
    "stream_options.include_obfuscation",
)


class Asked(Struct, kw_only=True, forbid_unknown_fields=True):
    """What every generating endpoint takes. The second group is ours, the third ignored on purpose."""

    model: Name
    stream: bool | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[Token, Bias] | None = None
    seed: Seed | None = None
    stop: Stop | Stops | None = None

    top_k: TopK | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repetition_penalty: Above | None = None
    stop_token_ids: list[Token] | None = None
    ignore_eos: bool | None = None
    schema: Schema | str | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None
    priority: Priority | None = None
    keep_alive: float | str | None = None

    user: str | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """`include_usage`: a last chunk tells of the tokens. `include_obfuscation` is ignored on purpose."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextPart(Struct, forbid_unknown_fields=True):
    """A part of a message. Images, audio and files are not supported."""

    type: Literal["text"]
    text: str


class CalledFunction(Struct, forbid_unknown_fields=True):
    """`arguments` are JSON."""

    name: str
    arguments: str


class CalledBefore(Struct, kw_only=True, forbid_unknown_fields=True):
    """A tool that the model called in an earlier answer. `index` comes back from streams, and tells nothing."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ToolFunction(Struct, kw_only=True, forbid_unknown_fields=True):
    """A function that the model may call. Where it must, its `parameters` are held to their schema, `strict` or not."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: ToolFunction


class FunctionName(Struct, forbid_unknown_fields=True):
    name: Name


class NamedTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class Message(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message of a conversation. `developer` is another word for `system`; of `tool` it is what a call gave."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: NoItems | None = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: list[CalledBefore] | None = None
    tool_call_id: str | None = None


class PlainText(Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """The form of an answer: text."""


class JsonObject(Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """The form of an answer: any JSON object."""


class NamedSchema(Struct, kw_only=True, forbid_unknown_fields=True):
    """Every answer is held to its schema, `strict` or not; `name` and `description` are for who asks."""

    name: str
    schema: Schema | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchema(Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    """The form of an answer: JSON of that schema."""

    json_schema: NamedSchema


class FlatSchema(NamedSchema, tag_field="type", tag="json_schema", kw_only=True, forbid_unknown_fields=True):
    """The same, as responses write it."""


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatBody(Asked, kw_only=True, forbid_unknown_fields=True):
    """`reasoning_effort` reaches the chat template, as `reasoning_effort` and `enable_thinking`."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Answers | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    prediction: dict[str, Any] | None = None

    response_format: PlainText | JsonObject | JsonSchema | None = None
    modalities: list[Literal["text"]] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: NoItems | None = None
    function_call: Literal["none", "auto"] | None = None
    audio: Nothing = None
    moderation: Nothing = None
    verbosity: Nothing = None
    web_search_options: Nothing = None


class CompletionBody(Asked, kw_only=True, forbid_unknown_fields=True):
    """`prompt` is text, token ids, or a list of either; `suffix` the text behind the hole that is to be filled."""

    prompt: str | Annotated[list[str | Token | list[Token]], Meta(min_length=1)]
    suffix: str | None = None
    max_tokens: Count | None = None
    n: Answers | None = None
    best_of: Answers | None = None
    logprobs: Alternatives | None = None
    echo: bool | None = None
    stream_options: StreamOptions | None = None


class SaidPart(Struct, kw_only=True, forbid_unknown_fields=True):
    """A part of what was said or thought, as input or as output of an earlier response."""

    type: Literal["input_text", "output_text", "summary_text", "reasoning_text"]
    text: str
    annotations: NoItems | None = None
    logprobs: list[Any] | None = None


class Item(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message; or a call of an earlier answer, what it gave, or what the model thought before it.

    `id`, `status` and `phase` of an earlier answer may come back with it.
    """

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[SaidPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[SaidPart] | None = None
    summary: list[SaidPart] | None = None
    encrypted_content: Nothing = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FlatTool(ToolFunction, kw_only=True, forbid_unknown_fields=True):
    """A function that the model may call, as responses write it."""

    type: Literal["function"]


class OneTool(Struct, kw_only=True, forbid_unknown_fields=True):
    """The tool that must be called, as responses write it."""

    type: Literal["function"]
    name: Name


class Reasoning(Struct, kw_only=True, forbid_unknown_fields=True):
    """`effort` reaches the chat template."""

    effort: Effort | None = None
    summary: Nothing = None
    generate_summary: Nothing = None


class TextForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """The form of an answer."""

    format: PlainText | JsonObject | FlatSchema | None = None
    verbosity: Nothing = None


class ResponseBody(Asked, kw_only=True, forbid_unknown_fields=True):
    """Nothing is kept: what refers to an earlier response is refused, `store` is ignored.

    `truncation` "auto" leaves the oldest messages out where the prompt is too long; the answer's usage says how many
    tokens that were.
    """

    input: str | Annotated[list[Item], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    top_logprobs: Alternatives | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    stream_options: StreamOptions | None = None
    reasoning: Reasoning | None = None
    text: TextForm | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    tools: list[FlatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | OneTool | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Nothing = None
    previous_response_id: Nothing = None
    conversation: Nothing = None
    prompt: Nothing = None
    background: bool | None = None


class EmbeddingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """`input` is text, token ids, or a list of either. `user` is ignored on purpose."""

    model: Name
    input: str | Annotated[list[str | Token | list[Token]], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    keep_alive: float | str | None = None
    user: str | None = None

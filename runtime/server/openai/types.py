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
    Count,
    NoItems,
    Nothing,
    Penalty,
    Priority,
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
    "parallel_tool_calls",
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


class Message(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message of a conversation. `developer` is another word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: NoItems | None = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: NoItems | None = None


class PlainText(Struct, forbid_unknown_fields=True):
    """The form of an answer: text."""

    type: Literal["text"]


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
    parallel_tool_calls: bool | None = None

    response_format: PlainText | None = None
    modalities: list[Literal["text"]] | None = None
    tools: NoItems | None = None
    tool_choice: Literal["none", "auto"] | None = None
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
    """A part of a message of a response, as input or as output of an earlier one."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: NoItems | None = None
    logprobs: list[Any] | None = None


class Item(Struct, kw_only=True, forbid_unknown_fields=True):
    """A message. `id`, `status` and `phase` of an earlier answer may come back with it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[SaidPart]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class Reasoning(Struct, kw_only=True, forbid_unknown_fields=True):
    """`effort` reaches the chat template."""

    effort: Effort | None = None
    summary: Nothing = None
    generate_summary: Nothing = None


class TextForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """The form of an answer: text."""

    format: PlainText | None = None
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

    parallel_tool_calls: bool | None = None

    tools: NoItems | None = None
    tool_choice: Literal["none", "auto"] | None = None
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

"""What the endpoints answer, as types: the description of the interface is made of them too."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from .tools import CallDelta, Called

Finish = Literal["stop", "length", "tool_calls"]


class Spelled(Struct):
    """A token, its logarithmic probability, and its bytes where they are known."""

    token: str
    logprob: float
    bytes: list[int] | None


class Scored(Spelled):
    """A chosen token, and the likeliest ones in its place."""

    top_logprobs: list[Spelled]


class Scores(Struct):
    content: list[Scored]
    refusal: None = None


class PromptDetails(Struct):
    cached_tokens: int


class Usage(Struct):
    """Tokens counted; `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Answer(Struct):
    """`content` is None of an answer that only calls. What was thought goes by both names that clients look for."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[Called] | UnsetType = UNSET


class Choice(Struct):
    index: int
    message: Answer
    finish_reason: Finish
    logprobs: Scores | None = None


class ChatCompletion(Struct, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class Delta(Struct, omit_defaults=True):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChunkChoice(Struct):
    index: int
    delta: Delta
    logprobs: Scores | None = None
    finish_reason: Finish | None = None


class Chunk(Struct, kw_only=True):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET


class TextScores(Struct):
    """A list each, an entry a token. Of a prompt's first token nothing is known."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Struct):
    index: int
    text: str
    logprobs: TextScores | None = None
    finish_reason: Finish | None = None


class TextCompletion(Struct, kw_only=True):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET


class Model(Struct, kw_only=True):
    """`capabilities` are ours: completion, chat (it has a chat template), tools, thinking."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    capabilities: list[str]


class Models(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Model]


class EmbeddingUsage(Struct):
    prompt_tokens: int
    total_tokens: int


class Embedding(Struct, kw_only=True):
    """`embedding` is a list of numbers, or these as 32-bit floats, little end first, in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage

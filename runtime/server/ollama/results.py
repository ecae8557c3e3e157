"""What Ollama's clients get back, as types. A field that is UNSET is left out."""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, field


class TokenScore(Struct, kw_only=True):
    """A token and its logarithmic probability; `bytes` may be a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class Score(TokenScore, kw_only=True):
    top_logprobs: list[TokenScore] | UnsetType = UNSET


class Reply(Struct, kw_only=True):
    """What pieces of an answer and whole ones share. Durations are in nanoseconds.

    `truncated` is how many tokens of the prompt were left out so that it fits; it is there only then.
    """

    model: str
    created_at: str
    done: bool = False
    done_reason: str | UnsetType = UNSET
    truncated: int | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_cached: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[Score] | UnsetType = UNSET


class GenerateReply(Reply, kw_only=True):
    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET


class CalledFunction(Struct):
    """A tool that the model wants called; `arguments` are an object."""

    index: int
    name: str
    arguments: Raw


class Called(Struct):
    id: str
    function: CalledFunction


class Said(Struct, kw_only=True):
    role: str = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[Called] | UnsetType = UNSET


class ChatReply(Reply, kw_only=True):
    message: Said


class EmbedReply(Struct, kw_only=True):
    """Vectors of length one."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class EmbeddingsReply(Struct):
    """A vector as the model gives it."""

    embedding: list[float]


class ModelDetails(Struct, kw_only=True):
    parent_model: str = ""
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ListedModel(Struct, kw_only=True):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails


class ListedModels(Struct):
    models: list[ListedModel]


class LoadedModel(Struct, kw_only=True):
    name: str
    model: str
    size: int
    digest: str
    details: ModelDetails
    expires_at: str
    size_vram: int
    context_length: int


class LoadedModels(Struct):
    models: list[LoadedModel]


class ShownModel(Struct, kw_only=True):
    license: str
    modelfile: str
    parameters: str
    template: str
    system: str
    details: ModelDetails
    messages: list[dict[str, str]]
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    tensors: list[dict[str, Any]] | UnsetType = UNSET


class Status(Struct, kw_only=True):
    """A line of what takes a while."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class Version(Struct):
    version: str


class Rendered(Struct, kw_only=True):
    rendered_template: str
    image_count: int = 0


class DebugReply(Struct, kw_only=True):
    """The prompt as the model reads it, nothing being computed."""

    model: str
    created_at: str
    debug_info: Rendered = field(name="_debug_info")

"""What Ollama's clients may send: exactly the fields that are accepted, a struct an endpoint.

A field that is not here is refused by its name. Fields of type `Unused` are there because clients send them empty.
`options` stay a table: what is in it is read in `options`, where those that have no effect are listed too.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field

from ..limits import Token

# What is read and changes nothing, on purpose: the README says why. Options that nobody knows are left alone too.
IGNORED = (
    "shift",
    "top_logprobs",
    "options.num_keep",
    "options.num_batch",
    "options.num_gpu",
    "options.main_gpu",
    "options.num_thread",
    "options.draft_num_predict",
    "options.use_mmap",
    "options.repeat_last_n",
    "show: system",
    "show: options",
)

Unused: TypeAlias = Any  # refused where it asks for something, by whoever reads the body
Think: TypeAlias = bool | Literal["minimal", "low", "medium", "high", "max"]
KeepAlive: TypeAlias = float | str
Dimensions = Annotated[int, Meta(ge=1, le=1 << 20)]


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request has: the model's name."""

    model: str = ""


class Asked(Body, kw_only=True):
    """What `generate` and `chat` share.

    `shift` has no effect: an answer that fills the context ends there, with `done_reason` length. `top_logprobs` has
    none without `logprobs`. `format` is "json" or a schema. `images` are refused where they ask for something.
    """

    stream: bool | None = None
    format: dict[str, Any] | str | None = None
    keep_alive: KeepAlive | None = None
    options: dict[str, Any] | None = None
    think: Think | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    render_only: bool | None = field(default=None, name="_debug_render_only")


class GenerateBody(Asked, kw_only=True):
    """`context` are the tokens that an earlier answer ended with."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[Token] | None = None
    raw: bool | None = None
    images: Unused = None


class Function(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the model called. `index` is its place among the calls of one answer, and tells nothing."""

    name: str
    arguments: dict[str, Any] | None = None
    index: int | None = None
    description: str | None = None


class Call(Struct, forbid_unknown_fields=True, kw_only=True):
    function: Function
    id: str | None = None
    type: str | None = None


class Tool(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the model may call. `items` are of a schema and have no effect here."""

    function: dict[str, Any]
    type: str = "function"
    items: Any = None


class ChatMessage(Struct, forbid_unknown_fields=True, kw_only=True):
    """One message; `thinking` is what the model thought before it said the rest. What a tool gave names its call by
    `tool_call_id`, or the tool by `tool_name`, or is the next that is missing.
    """

    role: str
    content: str | None = None
    thinking: str | None = None
    images: Unused = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(Asked, kw_only=True):
    messages: list[ChatMessage] | None = None
    tools: list[Tool] | None = None


class EmbedBody(Body, kw_only=True):
    """Of `options` only `num_ctx` has an effect."""

    input: str | list[str] | None = None
    truncate: bool | None = None
    dimensions: Dimensions | None = None
    keep_alive: KeepAlive | None = None
    options: dict[str, Any] | None = None


class EmbeddingsBody(Body, kw_only=True):
    prompt: str | None = None
    keep_alive: KeepAlive | None = None
    options: dict[str, Any] | None = None


class NamedBody(Body, kw_only=True):
    """A model, by either of the names that the field has had."""

    name: str = ""

    @property
    def called(self) -> str:
        return self.model or self.name


class ShowBody(NamedBody, kw_only=True):
    """`system` and `options` have no effect: what is shown is the model as it is."""

    verbose: bool | None = None
    system: str | None = None
    options: dict[str, Any] | None = None


class PullBody(NamedBody, kw_only=True):
    stream: bool | None = None
    insecure: bool | None = None


class CopyBody(Struct, forbid_unknown_fields=True, kw_only=True):
    source: str = ""
    destination: str = ""


class CreateMessage(Struct, forbid_unknown_fields=True):
    role: str
    content: str


class CreateBody(NamedBody, kw_only=True):
    """`from` names a model; `files` are uploaded blobs, by the names that they shall have. `quantize` is the kind that
    their weights get: Q8_0, Q4_K_M ...
    """

    stream: bool | None = None
    source: str | None = field(default=None, name="from")
    files: dict[str, str] | None = None
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[CreateMessage] | None = None
    adapters: Unused = None
    quantize: str | None = None

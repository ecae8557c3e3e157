"""One request inside, whatever dialect it came in: what is asked of a model, and the pieces of the answer.

Plain data, so that it crosses from process to process as it is. Doors translate their bodies to an `Ask` and a stream
of `Piece`s back; whoever answers knows no dialect. `Host` is what doors need of it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

from ..params import SamplingParams
from ..results import FinishReason, Timings, TokenLogprob, ToolCall, Usage

if TYPE_CHECKING:
    from .measures import Measures

FOREVER = -1.0
FaultKind: TypeAlias = Literal[
    "invalid",
    "too_long",
    "not_found",
    "forbidden",
    "busy",
    "no_memory",
    "no_disk",
    "unavailable",
    "unreachable",
    "broken",
    "cancelled",
    "internal",
]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt for `model`: exactly one of `text`, `tokens` and `messages`; `text` beside `messages` is what a model
    reads instead that has no chat template.

    `messages` are written down by the model's own chat template, which may use `variables` (documents, enable_thinking,
    reasoning_effort ...). It is given `tools`, in OpenAI's form; `tool_choice` is none, auto, required, or the name of
    the tool that must be called, and without `parallel_calls` an answer calls at most one. `calls_in_parts`: they are
    told as the model writes them, where its family's way allows it.

    `raw` text is read as it is; other `text` too, but begins as the tokenizer begins every prompt. A prompt that is too
    long is refused, unless `truncate`: then the oldest turns but the system's words go (of text, the beginning), and
    the first piece says how many tokens went. `fit` cuts `max_tokens` to what the context leaves, where it would be
    refused otherwise. `keep_alive` is in seconds, negative for ever, None as the host likes; `context` asks for a model
    loaded with so long a context, and bounds this request.

    `before` are the tokens of what was said already, which the prompt goes on with. `template` takes the place of the
    model's own chat template. `usual` are parameters for where neither the request nor the model chooses; all of them
    or none where they are `usual_together`: none where anybody chooses a temperature.
    """

    model: str
    text: str | None = None
    tokens: list[int] | None = None
    messages: list[dict[str, Any]] | None = None
    suffix: str | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str = "auto"
    parallel_calls: bool = True
    calls_in_parts: bool = False
    variables: dict[str, Any] = {}
    params: SamplingParams = SamplingParams()
    raw: bool = False
    truncate: bool = False
    fit: bool = False
    priority: int = 0
    keep_alive: float | None = None
    context: int | None = None
    before: list[int] = []
    template: str | None = None
    usual: dict[str, Any] = {}
    usual_together: bool = False
    watched: bool = True  # False: only the last piece of each choice is wanted, with all of its text


class Fault(msgspec.Struct, frozen=True):
    """Why something was refused or broke off. `kind` says which family of status it is; doors word and number it:
    `unreachable` is a source of models, `broken` a file of one or of the store.

    `field` names the parameter at fault, `retry_after` says in seconds when to come back, `numbers` are those of the
    message (tokens, context, needed, available ...).
    """

    kind: FaultKind
    message: str
    hint: str | None = None
    field: str | None = None
    retry_after: float | None = None
    numbers: Mapping[str, float] = {}


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What is new of one answer: whole characters and the tokens behind them.

    Of a conversation `thought` is what the model thinks aloud and `calls` are tools that it wants called; within a
    piece they come before and after `text`. `part` is what is new of a call that is still being written: the whole of
    it, by the same id, is among the next `calls`.

    `choice` tells the answers apart where `n` asked for several. The last piece of a choice has its `finish_reason`,
    `usage` and `timings`, and `prompt_logprobs` where they were asked for; when `watched` was False it is the only one
    and holds everything. The first piece has no text: it has `prompt_tokens`, how many of them were left out
    (`truncated`), how long the request waited for its model to be loaded (`load_seconds`), and how many requests stood
    in line before it (`queued`). `stop` is the stop string that ended the answer.
    """

    choice: int = 0
    text: str = ""
    thought: str = ""
    part: ToolCall | None = None
    calls: tuple[ToolCall, ...] = ()
    token_ids: list[int] = []
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None
    prompt_tokens: list[int] | None = None
    truncated: int = 0
    finish_reason: FinishReason | None = None
    stop: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    load_seconds: float = 0.0
    queued: int = 0
    fault: Fault | None = None


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is loaded, being loaded, or on its way out. Sizes in bytes, times in seconds since the epoch."""

    name: str
    state: Literal["loading", "ready", "stalled", "leaving", "failed"]
    size: int
    device: str
    context: int
    expires: float | None  # None: never
    pinned: bool
    running: int
    waiting: int
    architecture: str | None = None
    digest: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`ready` unless the server drains, or a model has work and makes no progress."""

    state: Literal["ready", "loading", "stalled", "draining", "failed"]
    models: list[Resident]
    running: int
    waiting: int
    stalled_seconds: float = 0.0


class HostError(Exception):
    """What `Host` raises: a fault, before the first piece. A fault after it stands in the last piece."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Host(Protocol):
    """Models that answer. Every method raises `HostError`; none blocks the event loop."""

    def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        """The answer, the model being loaded first where it is not. Closing the iterator aborts the request."""
        ...

    async def encode(self, model: str, text: str, *, special: bool = False) -> list[int]: ...
    async def decode(self, model: str, tokens: Sequence[int]) -> str: ...
    async def count(self, ask: Ask) -> int:
        """How many tokens the prompt of `ask` has, nothing computed."""
        ...

    async def render(self, ask: Ask) -> str:
        """The prompt as the model's template writes it."""
        ...

    async def embed(
        self, model: str, inputs: Sequence[str | list[int]], *, truncate: bool, keep_alive: float | None
    ) -> list[tuple[list[float], int]]:
        """A vector for each input, and how many tokens it had; not normalised."""
        ...

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident: ...
    async def unload(self, model: str) -> bool:
        """Let it go as soon as nobody uses it; False when it is not loaded."""
        ...

    async def pin(self, model: str, pinned: bool) -> bool: ...
    async def residents(self) -> list[Resident]: ...
    async def health(self) -> Health: ...
    async def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """For each loaded model the fields of its engine's `Stats`, and the server's own under "": counters, gauges."""
        ...

    def measures(self) -> "Mapping[str, Measures]":
        """What was measured of each model's answers since the start."""
        ...

    async def drain(self, grace: float) -> None:
        """Refuse what is new, let what runs end, and abort what is left after `grace` seconds; then let models go."""
        ...

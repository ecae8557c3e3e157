"""What clients and the server say to each other, as data: addresses, bodies, and answers read piece by piece.

It knows no connection, so that both clients share it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict, Unpack, get_args
from urllib.parse import urlsplit

import msgspec

from ..errors import InvalidParameter, ServerRefused
from ..hosting.asking import Fault, FaultKind, Piece, Resident
from ..params import SamplingParams
from ..results import Completion, TokenLogprob, ToolCall, Update

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080
TO_CONNECT = 5.0  # seconds; an answer may take as long as it likes
_KINDS = {
    400: "invalid",
    401: "forbidden",
    403: "forbidden",
    404: "not_found",
    499: "cancelled",
    502: "unreachable",
    503: "unavailable",
    507: "no_disk",
}
_NOT_THERE = "pull model manifest: file does not exist: "  # what Ollama's clients look for, before the reason
NOT_SENT = ("stop_token_ids", "prompt_logprobs")  # of `SamplingParams`: they are for who holds the tokens


class About(msgspec.Struct):
    """Which program answers at an address."""

    program: str
    version: str


class InstalledModel(msgspec.Struct):
    """A model of the server's shelf. Sizes in bytes."""

    name: str
    digest: str
    size: int
    modified_at: str


class ShownModel(msgspec.Struct):
    """What a server tells of a model. `details` are what is known of it in a word each, `capabilities` what it can,
    `messages` how every conversation with it begins.
    """

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: dict[str, Any] = {}
    capabilities: list[str] = []
    messages: list[dict[str, str]] = []


class PullStatus(msgspec.Struct):
    """A line of a pull; `kind` is the family of the `error`."""

    status: str = ""
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    error: str | None = None
    kind: str = "internal"
    hint: str | None = None


Think: TypeAlias = bool | Literal["low", "medium", "high"]


class Offered(TypedDict, total=False):
    """What a conversation may have besides its messages.

    `tools` that the model may call, as OpenAI writes them; `tool_choice` none, auto, required, or the name of the one
    that must be called; `parallel_calls` False where an answer may call at most one. `think` tells a model that can be
    told whether to, and how hard.
    """

    tools: Sequence[Mapping[str, Any]]
    tool_choice: str
    parallel_calls: bool
    think: Think | None


class _Counted(msgspec.Struct):
    tokens: int


class _Installed(msgspec.Struct):
    models: list[InstalledModel]


class _Error(msgspec.Struct):
    message: str
    type: str = "internal"
    hint: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error | str


def reason(error: Exception) -> str:
    """Why a server was not reached."""
    return str(error) or type(error).__name__


def base_url(host: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The address of a server: `host`, else UNILLM_HOST, else this machine's. A port that is not said is 8080."""
    text = (host or environ.get("UNILLM_HOST") or DEFAULT_HOST).strip().rstrip("/")
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidParameter("host", host or text, "host, host:port or an address with http://") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise InvalidParameter("host", host or text, "host, host:port or an address with http://")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}:{port or (443 if parts.scheme == 'https' else DEFAULT_PORT)}"


def headers(key: str | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """With the key that the server wants: `key`, else UNILLM_API_KEY."""
    key = key or environ.get("UNILLM_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def question(
    model: str,
    prompt: str | Sequence[Mapping[str, Any]],
    params: SamplingParams,
    *,
    raw: bool = False,
    usual: bool = False,
    keep_alive: float | None = None,
    context: int | None = None,
    **offered: Unpack[Offered],
) -> dict[str, Any]:
    """The body that asks for an answer to text, or to a conversation. Raises `InvalidParameter`."""
    said = {"text": prompt} if isinstance(prompt, str) else {"messages": [dict(one) for one in prompt]}
    more = {"keep_alive": keep_alive, "context": context, **offered}
    return {
        "model": model,
        **said,
        "raw": raw,
        "usual": usual,
        "params": _sent(params),
        **{name: value for name, value in more.items() if value is not None},
    }


def refusal(status: int, body: bytes) -> ServerRefused:
    """What a server says no with, as an error."""
    kind = _KINDS.get(status, "internal")
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        return ServerRefused(kind, f"the server answered with status {status}", status=status)
    if isinstance(error, str):
        return ServerRefused(kind, error, status=status)
    ours = error.type in get_args(FaultKind)
    return ServerRefused(error.type if ours else kind, error.message, error.hint, status)


def refused(fault: Fault) -> ServerRefused:
    return ServerRefused(fault.kind, fault.message, fault.hint)


def read_piece(line: str) -> Piece:
    return msgspec.json.decode(line, type=Piece)


def read_about(body: bytes) -> About | None:
    """None where another program answers."""
    try:
        about = msgspec.json.decode(body, type=About)
    except msgspec.MsgspecError:
        return None
    return about if about.program == "unillm" else None


def read_count(body: bytes) -> int:
    return msgspec.json.decode(body, type=_Counted).tokens


def read_models(body: bytes) -> list[InstalledModel]:
    return msgspec.json.decode(body, type=_Installed).models


def read_shown(body: bytes) -> ShownModel:
    return msgspec.json.decode(body, type=ShownModel)


def read_residents(body: bytes) -> list[Resident]:
    return msgspec.json.decode(body, type=list[Resident])


def read_resident(body: bytes) -> Resident:
    return msgspec.json.decode(body, type=Resident)


def read_status(line: str) -> PullStatus:
    """Raises `ServerRefused` where the pull has failed."""
    status = msgspec.json.decode(line, type=PullStatus)
    if status.error is not None:
        raise ServerRefused(status.kind, status.error.removeprefix(_NOT_THERE), status.hint)
    return status


@dataclass(slots=True)
class _Answer:
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None


@dataclass(slots=True)
class Reading:
    """One request's answers, read from pieces. `completions` holds those that have ended, by their choice."""

    id: str
    load_seconds: float = 0.0
    truncated: int = 0
    completions: dict[int, Completion] = field(default_factory=dict)
    _answers: dict[int, _Answer] = field(default_factory=dict)

    def take(self, piece: Piece) -> Update | None:
        """What is new; None of a piece that only tells of the prompt. A fault with no answer to it is raised."""
        if piece.prompt_tokens is not None:
            self.load_seconds, self.truncated = piece.load_seconds, piece.truncated
            return None
        if piece.fault is not None and piece.usage is None:
            raise refused(piece.fault)
        answer = self._answers.setdefault(piece.choice, _Answer())
        answer.texts.append(piece.text)
        answer.thoughts.append(piece.thought)
        answer.calls += piece.calls
        answer.tokens += piece.token_ids
        if piece.logprobs is not None:
            answer.logprobs = [*(answer.logprobs or ()), *piece.logprobs]
        completion = self._ended(piece, answer) if piece.finish_reason is not None else None
        return Update(
            id=self.id,
            index=0,
            text=piece.text,
            token_ids=tuple(piece.token_ids),
            logprobs=None if piece.logprobs is None else tuple(piece.logprobs),
            finish_reason=piece.finish_reason,
            completion=completion,
            choice=piece.choice,
            thought=piece.thought,
            tool_calls=piece.calls,
        )

    def completion(self) -> Completion:
        """The whole answer, the others to the same prompt within it."""
        if not self.completions:
            raise ServerRefused("unavailable", "the server's answer broke off", "ask again")
        first, *others = (self.completions[choice] for choice in sorted(self.completions))
        return replace(first, alternatives=tuple(others))

    def _ended(self, piece: Piece, answer: _Answer) -> Completion | None:
        if piece.usage is None or piece.timings is None or piece.finish_reason is None:
            return None
        completion = Completion(
            id=self.id,
            text="".join(answer.texts),
            token_ids=tuple(answer.tokens),
            finish_reason=piece.finish_reason,
            logprobs=None if answer.logprobs is None else tuple(answer.logprobs),
            usage=piece.usage,
            timings=piece.timings,
            error=None if piece.fault is None else refused(piece.fault),
            thought="".join(answer.thoughts),
            tool_calls=tuple(answer.calls),
        )
        self.completions[piece.choice] = completion
        return completion


def _sent(params: SamplingParams) -> dict[str, Any]:
    """The fields that say something."""
    for name in NOT_SENT:
        if getattr(params, name):
            raise InvalidParameter(name, getattr(params, name), "left out: a server does not take it")
    given = {one.name: getattr(params, one.name) for one in fields(params) if getattr(params, one.name) != one.default}
    if "stop" in given:
        given["stop"] = list(params.stop_strings)
    return given

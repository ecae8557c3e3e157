"""An answer in Ollama's words: a line for each piece, the last one with counts and durations; and its errors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ...hosting.asking import Fault, Piece
from ...results import TokenLogprob
from .results import ChatReply, GenerateReply, Reply, Said, Score, TokenScore
from .tools import told

NDJSON = "application/x-ndjson"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
TOO_LONG = "the input length exceeds the context length"


class OllamaDialect:
    """Errors are one sentence."""

    def error(self, fault: Fault, status: int, request_id: str) -> dict[str, Any]:
        return {"error": sentence(fault)}


OLLAMA = OllamaDialect()


def sentence(fault: Fault) -> str:
    """What clients read; some look for Ollama's own words."""
    if fault.kind == "busy" and fault.field is None:  # too many answers are waited for
        return BUSY
    if fault.kind == "too_long":
        return f"{TOO_LONG}: {fault.message}"
    return fault.message


def line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def moment(when: datetime | None = None) -> str:
    """A time as Ollama writes it: UTC, to the nanosecond."""
    return f"{(when or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def nanoseconds(seconds: float) -> int:
    """At least one: clients take 0 for a field that is missing."""
    return max(1, round(seconds * 1e9))


@dataclass(slots=True)
class Wording:
    """One answer, from its pieces to replies.

    `tells_thoughts` False: what the model thinks is kept from the client.
    `keeps` says that the last reply has the tokens of prompt and answer, to go on from.
    """

    model: str
    is_chat: bool
    keeps: bool = False
    tells_thoughts: bool = True
    _prompt: Piece = field(default_factory=Piece, init=False)
    _tokens: list[int] = field(default_factory=list, init=False)
    _calls: int = field(default=0, init=False)

    def take(self, piece: Piece) -> Iterator[Reply]:
        """What there is to say of `piece`."""
        if piece.prompt_tokens is not None:
            self._prompt = piece
            return
        self._tokens += piece.token_ids
        thought = piece.thought if self.tells_thoughts else ""
        scores = UNSET if piece.logprobs is None else [score(one) for one in piece.logprobs]
        if piece.text or thought or piece.calls or scores:
            yield self._reply(piece, thought, scores)
        if piece.finish_reason is not None:
            yield self._last(piece)

    def whole(self, pieces: Sequence[Piece]) -> Reply:
        """All of it in one reply."""
        replies = [reply for piece in pieces for reply in self.take(piece)]
        last = replies[-1]
        scores = [one for reply in replies if reply.logprobs is not UNSET for one in reply.logprobs]
        _join(last, replies)
        if any(reply.logprobs is not UNSET for reply in replies):
            last.logprobs = scores
        return last

    def _reply(self, piece: Piece, thought: str, scores: list[Score] | UnsetType) -> Reply:
        reply = empty(self.model, is_chat=self.is_chat)
        reply.logprobs = scores
        if isinstance(reply, GenerateReply):
            reply.response, reply.thinking = piece.text, thought or UNSET
        elif isinstance(reply, ChatReply):
            calls = told(piece.calls, self._calls)
            self._calls += len(calls)
            reply.message = Said(content=piece.text, thinking=thought or UNSET, tool_calls=calls or UNSET)
        return reply

    def _last(self, piece: Piece) -> Reply:
        reply = empty(self.model, is_chat=self.is_chat)
        reply.done = True
        reply.done_reason = piece.finish_reason or "stop"
        if self._prompt.truncated:
            reply.truncated = self._prompt.truncated
        if self.keeps and isinstance(reply, GenerateReply):
            reply.context = [*(self._prompt.prompt_tokens or ()), *self._tokens]
        _count(reply, piece, self._prompt.load_seconds)
        return reply


class Lines:
    """The scribe: a line for each reply."""

    media_type = NDJSON

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    def write(self, piece: Piece) -> Iterator[bytes]:
        return map(line, self._wording.take(piece))

    def end(self) -> Iterable[bytes]:
        return ()

    def broke(self, fault: Fault) -> Iterator[bytes]:
        yield line({"error": sentence(fault)})


def empty(model: str, *, is_chat: bool) -> Reply:
    """A reply that says nothing yet."""
    if is_chat:
        return ChatReply(model=model, created_at=moment(), message=Said(content=""))
    return GenerateReply(model=model, created_at=moment(), response="")


def score(logprob: TokenLogprob) -> Score:
    return Score(
        **_token(logprob), top_logprobs=[TokenScore(**_token(one)) for one in logprob.top] if logprob.top else UNSET
    )


def _token(logprob: TokenLogprob) -> dict[str, Any]:
    data = logprob.token.encode() if logprob.data is None else logprob.data
    return {"token": data.decode("utf-8", "replace"), "logprob": logprob.logprob, "bytes": list(data)}


def _join(last: Reply, replies: Sequence[Reply]) -> None:
    """Have the last reply say what all of them do."""
    if isinstance(last, ChatReply):
        messages = [reply.message for reply in replies if isinstance(reply, ChatReply)]
        calls = [call for message in messages for call in message.tool_calls or ()]
        last.message.content = "".join(message.content for message in messages)
        last.message.thinking = "".join(message.thinking or "" for message in messages) or UNSET
        last.message.tool_calls = calls or UNSET
    elif isinstance(last, GenerateReply):
        several = [reply for reply in replies if isinstance(reply, GenerateReply)]
        last.response = "".join(reply.response for reply in several)
        last.thinking = "".join(reply.thinking or "" for reply in several) or UNSET


def _count(reply: Reply, piece: Piece, load_seconds: float) -> None:
    usage, timings = piece.usage, piece.timings
    if usage is not None:
        reply.prompt_eval_count = usage.prompt_tokens
        reply.prompt_eval_cached = usage.cached_tokens
        reply.eval_count = usage.completion_tokens
    if timings is not None:
        reply.load_duration = nanoseconds(load_seconds)
        reply.prompt_eval_duration = nanoseconds(timings.first_token - timings.queued)
        reply.eval_duration = nanoseconds(timings.total - timings.first_token)
        reply.total_duration = nanoseconds(load_seconds + timings.total)

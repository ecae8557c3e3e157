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
from .thinking import Thoughts

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
    if fault.kind == "busy":
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

    `thoughts` is there for models that think; `tells_thoughts` False: what they think is kept from the client.
    `keeps` says that the last reply has the tokens of prompt and answer, to go on from.
    """

    model: str
    is_chat: bool
    keeps: bool = False
    thoughts: Thoughts | None = None
    tells_thoughts: bool = True
    _prompt: Piece = field(default_factory=Piece, init=False)
    _tokens: list[int] = field(default_factory=list, init=False)

    def take(self, piece: Piece) -> Iterator[Reply]:
        """What there is to say of `piece`."""
        if piece.prompt_tokens is not None:
            self._prompt = piece
            return
        self._tokens += piece.token_ids
        thinking, text = self._told(piece)
        scores = UNSET if piece.logprobs is None else [score(one) for one in piece.logprobs]
        if text or thinking or scores:
            yield self._reply(text, thinking, scores)
        if piece.finish_reason is not None:
            yield self._last(piece)

    def whole(self, pieces: Sequence[Piece]) -> Reply:
        """All of it in one reply."""
        replies = [reply for piece in pieces for reply in self.take(piece)]
        last = replies[-1]
        texts = [_spoken(reply) for reply in replies]
        scores = [one for reply in replies if reply.logprobs is not UNSET for one in reply.logprobs]
        _speak(last, "".join(said for said, _ in texts), "".join(thought for _, thought in texts))
        if any(reply.logprobs is not UNSET for reply in replies):
            last.logprobs = scores
        return last

    def _told(self, piece: Piece) -> tuple[str, str]:
        """What is thought, and what is said."""
        if self.thoughts is None:
            return "", piece.text
        thinking, text = self.thoughts.push(piece.text)
        if piece.finish_reason is not None:
            more_thinking, more_text = self.thoughts.finish()
            thinking, text = thinking + more_thinking, text + more_text
        return thinking if self.tells_thoughts else "", text

    def _reply(self, text: str, thinking: str, scores: list[Score] | UnsetType) -> Reply:
        reply = empty(self.model, is_chat=self.is_chat)
        reply.logprobs = scores
        _speak(reply, text, thinking)
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


def _speak(reply: Reply, text: str, thinking: str) -> None:
    if isinstance(reply, ChatReply):
        reply.message.content = text
        reply.message.thinking = thinking or UNSET
    elif isinstance(reply, GenerateReply):
        reply.response = text
        reply.thinking = thinking or UNSET


def _spoken(reply: Reply) -> tuple[str, str]:
    if isinstance(reply, ChatReply):
        return reply.message.content, reply.message.thinking or ""
    return (reply.response, reply.thinking or "") if isinstance(reply, GenerateReply) else ("", "")


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

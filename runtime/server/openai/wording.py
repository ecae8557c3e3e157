"""What all of OpenAI's answers share: who answers, tokens counted, tokens scored, and how errors read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...hosting.asking import Fault, Piece
from ...results import TokenLogprob
from ..sse import MEDIA_TYPE, event
from .results import Finish, PromptDetails, Scored, Scores, Spelled, Usage

DONE = b"data: [DONE]\n\n"
LEAST = -9999.0  # stands for minus infinity, which JSON has not
CODES = {
    "too_long": "context_length_exceeded",
    "forbidden": "forbidden",
    "busy": "server_overloaded",
    "no_memory": "insufficient_memory",
    "no_disk": "insufficient_storage",
    "unavailable": "service_unavailable",
    "unreachable": "source_unreachable",
    "broken": "model_broken",
    "internal": "internal_error",
}


class OpenAI:
    """How OpenAI's clients expect errors."""

    def error(self, fault: Fault, status: int, request_id: str) -> dict[str, Any]:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": told(fault), "type": kind, "param": fault.field, "code": code_of(fault, status)}}


OPENAI = OpenAI()


def code_of(fault: Fault, status: int = 400) -> str | None:
    """What clients know it by; None where there is only the message."""
    if status == 401:
        return "invalid_api_key"
    if fault.kind == "not_found" and fault.field == "model":
        return "model_not_found"
    return CODES.get(fault.kind)


def told(fault: Fault) -> str:
    """What went wrong, and what to do about it."""
    return fault.message if fault.hint is None else f"{fault.message}; {fault.hint}"


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of one answer begins with. `number` is the request's own."""

    number: str
    created: int
    model: str
    fingerprint: str


class EventScribe:
    """The end of a stream in this dialect, whatever it streams: [DONE], unless it broke off."""

    media_type = MEDIA_TYPE

    def broke(self, fault: Fault) -> list[bytes]:
        return [event(OPENAI.error(fault, 500, ""))]


class Tally:
    """Counts the tokens of all answers to a request: a prompt once, however many answers it has."""

    def __init__(self, answers: int = 1) -> None:
        self._answers = answers
        self._prompt = self._completion = self._cached = 0

    def add(self, piece: Piece) -> None:
        if piece.prompt_tokens is not None:
            self._prompt += len(piece.prompt_tokens)
        if piece.usage is not None:
            self._completion += piece.usage.completion_tokens
            if piece.choice % self._answers == 0:
                self._cached += piece.usage.cached_tokens

    @property
    def usage(self) -> Usage:
        total = self._prompt + self._completion
        return Usage(self._prompt, self._completion, total, PromptDetails(self._cached))


def counted(pieces: Sequence[Piece], answers: int = 1) -> Usage:
    """The tokens of whole answers."""
    tally = Tally(answers)
    for piece in pieces:
        tally.add(piece)
    return tally.usage


def finish(piece: Piece, *, called: bool = False) -> Finish:
    """Why it ended, in OpenAI's words. `called`: the answer wants tools called."""
    if piece.finish_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def spoken(piece: Piece) -> Sequence[TokenLogprob]:
    """The scores of the tokens that are text: the one that ended the answer is none."""
    ended = piece.finish_reason == "stop" and piece.stop is None
    scores = piece.logprobs or []
    return scores[:-1] if ended else scores


def scores(piece: Piece) -> Scores | None:
    """None where nobody asked for them."""
    if piece.logprobs is None:
        return None
    return Scores([_scored(one) for one in spoken(piece)])


def value(logprob: float) -> float:
    """A number that JSON has."""
    return max(logprob, LEAST)


def _scored(one: TokenLogprob) -> Scored:
    return Scored(one.token, value(one.logprob), _bytes(one), [_spelled(other) for other in one.top])


def _spelled(one: TokenLogprob) -> Spelled:
    return Spelled(one.token, value(one.logprob), _bytes(one))


def _bytes(one: TokenLogprob) -> list[int] | None:
    return None if one.data is None else list(one.data)

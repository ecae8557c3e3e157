"""/v1/messages: from its body to what is asked, and from the pieces of the answer to its words and events."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...hosting.asking import Ask, Fault, Piece
from ..asked import sampling, seconds
from ..endpoint import invalid
from ..sse import MEDIA_TYPE, event
from .results import Message as Answer
from .results import Reason, Text, Usage
from .types import Block, Conversation, CountBody, Message, MessagesBody

NAMES = {"prompt": "messages", "stop": "stop_sequences"}
ERRORS: Mapping[str, str] = {
    "invalid": "invalid_request_error",
    "too_long": "invalid_request_error",
    "not_found": "not_found_error",
    "forbidden": "permission_error",
    "busy": "overloaded_error",
    "no_memory": "overloaded_error",
    "unavailable": "overloaded_error",
}
BY_STATUS: Mapping[int, str] = {401: "authentication_error", 413: "request_too_large"}


class Anthropic:
    """How Anthropic's clients expect errors."""

    def error(self, fault: Fault, status: int, request_id: str) -> dict[str, Any]:
        kind = BY_STATUS.get(status) or ERRORS.get(fault.kind, "api_error")
        message = fault.message if fault.hint is None else f"{fault.message}; {fault.hint}"
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


ANTHROPIC = Anthropic()


def to_ask(body: MessagesBody) -> Ask:
    """What `body` asks; an answer may be cut where the context ends. Raises `Refused` and `InvalidParameter`."""
    return Ask(
        model=body.model,
        messages=conversation(body),
        variables=thinking(body),
        params=sampling(
            max_tokens=body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            stop=body.stop_sequences,
        ),
        fit=True,
        priority=body.priority or 0,
        keep_alive=seconds(body.keep_alive),
        watched=bool(body.stream),
    )


def to_count(body: CountBody) -> Ask:
    """The prompt whose tokens are to be counted. Raises `Refused`."""
    return Ask(model=body.model, messages=conversation(body), variables=thinking(body))


def conversation(body: Conversation) -> list[dict[str, Any]]:
    """The messages as templates know them, the system's words first. Raises `Refused`."""
    if body.messages[-1].role == "assistant":
        raise invalid("messages", "messages ends with the assistant's; continuing its words is not supported")
    system = body.system if isinstance(body.system, str) else "\n".join(block.text for block in body.system or ())
    before = [{"role": "system", "content": system}] if system else []
    return [*before, *(_plain(message, place) for place, message in enumerate(body.messages))]


def thinking(body: Conversation) -> dict[str, Any]:
    """The variables by which templates know whether to think, and how much."""
    told: dict[str, Any] = {}
    if body.thinking is not None:
        told["enable_thinking"] = body.thinking.type != "disabled"
    if body.output_config is not None and body.output_config.effort is not None:
        told["reasoning_effort"] = body.output_config.effort
    return told


def whole(pieces: Sequence[Piece], body: MessagesBody, number: str) -> Answer:
    """The message, all of it there."""
    last = next(piece for piece in pieces if piece.finish_reason is not None)
    return Answer(
        id=f"msg_{number}",
        model=body.model,
        content=[Text(last.text)],
        stop_reason=_reason(last, body.max_tokens),
        stop_sequence=last.stop,
        usage=_usage(last),
    )


class MessageScribe:
    """The message in events: it begins, its text begins, grows and ends, and last the reason why it ended."""

    media_type = MEDIA_TYPE

    def __init__(self, body: MessagesBody, number: str) -> None:
        self._body = body
        self._number = number

    def write(self, piece: Piece) -> Iterator[bytes]:
        if piece.prompt_tokens is not None:
            yield from self._begin(len(piece.prompt_tokens))
            return
        if piece.text:
            delta = {"type": "text_delta", "text": piece.text}
            yield _event("content_block_delta", index=0, delta=delta)
        if piece.finish_reason is not None:
            yield _event("content_block_stop", index=0)
            ended = {"stop_reason": _reason(piece, self._body.max_tokens), "stop_sequence": piece.stop}
            yield _event("message_delta", delta=ended, usage=_usage(piece))
            yield _event("message_stop")

    def end(self) -> Iterator[bytes]:
        return iter(())

    def broke(self, fault: Fault) -> Iterator[bytes]:
        yield event(ANTHROPIC.error(fault, 500, f"req_{self._number}"), "error")

    def _begin(self, prompt: int) -> Iterator[bytes]:
        message = Answer(
            id=f"msg_{self._number}",
            model=self._body.model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=Usage(prompt, 0, 0),  # what the cache had of it is known at the end
        )
        yield _event("message_start", message=message)
        yield _event("content_block_start", index=0, content_block=Text(""))
        yield _event("ping")


def _plain(message: Message, place: int) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    where = f"messages[{place}].content"
    said = [_words(block.text, f"{where}[{i}].text") for i, block in _of("text", message.content)]
    thought = [_words(block.thinking, f"{where}[{i}].thinking") for i, block in _of("thinking", message.content)]
    told = {"role": message.role, "content": "\n".join(said)}
    return {**told, "reasoning_content": "\n".join(thought)} if thought else told


def _of(kind: str, blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    return [(place, block) for place, block in enumerate(blocks) if block.type == kind]


def _words(text: str | None, field: str) -> str:
    if text is None:
        raise invalid(field, f"{field} is missing")
    return text


def _reason(piece: Piece, most: int) -> Reason:
    if piece.finish_reason == "length":
        made = 0 if piece.usage is None else piece.usage.completion_tokens
        return "max_tokens" if made >= most else "model_context_window_exceeded"
    return "end_turn" if piece.stop is None else "stop_sequence"


def _usage(piece: Piece) -> Usage:
    if piece.usage is None:
        return Usage(0, 0, 0)
    cached = piece.usage.cached_tokens
    return Usage(piece.usage.prompt_tokens - cached, cached, piece.usage.completion_tokens)


def _event(kind: str, **what: Any) -> bytes:
    return event({"type": kind, **what}, kind)

"""/v1/responses: from its body to what is asked, and from the pieces of the answer to its words and events.

Nothing is kept between requests: a conversation comes whole each time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...hosting.asking import Ask, Fault, Piece
from ..asked import seconds, variables
from ..endpoint import invalid
from ..sse import MEDIA_TYPE, event
from .asking import sampled, thinking
from .types import Item, ResponseBody
from .wording import Head, code_of, counted, scores, told

NAMES = {"prompt": "input", "max_tokens": "max_output_tokens"}

Json = dict[str, Any]


def to_ask(body: ResponseBody) -> Ask:
    """What `body` asks. Raises `Refused` and `InvalidParameter`."""
    if body.background:
        raise invalid("background", "background is not supported")
    effort = None if body.reasoning is None else body.reasoning.effort
    return Ask(
        model=body.model,
        messages=_messages(body),
        variables={**thinking(effort), **variables(body.chat_template_kwargs)},
        params=sampled(
            body, max_tokens=body.max_output_tokens, logprobs=(body.top_logprobs or 0) if wants_scores(body) else None
        ),
        truncate=body.truncation == "auto",
        priority=body.priority or 0,
        keep_alive=seconds(body.keep_alive),
        watched=bool(body.stream),
    )


def wants_scores(body: ResponseBody) -> bool:
    return "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)


def whole(pieces: Sequence[Piece], body: ResponseBody, head: Head) -> Json:
    """The response, all of it there."""
    last = next(piece for piece in pieces if piece.finish_reason is not None)
    message = _message(head, _text_part(last.text, _scored(last)), _status(last))
    return _response(body, head, status=_status(last), output=[message], usage=_usage(pieces))


class ResponseScribe:
    """The response in events, numbered: it begins, its message begins and grows, both end."""

    media_type = MEDIA_TYPE

    def __init__(self, body: ResponseBody, head: Head) -> None:
        self._body = body
        self._head = head
        self._count = 0
        self._pieces: list[Piece] = []  # without their text
        self._text = ""
        self._scores: list[Any] = []
        self._at: Json = {"item_id": f"msg_{head.number}", "output_index": 0, "content_index": 0}

    def write(self, piece: Piece) -> Iterator[bytes]:
        if piece.prompt_tokens is not None or piece.finish_reason is not None:
            self._pieces.append(piece)
        if piece.prompt_tokens is not None:
            yield from self._begin()
            return
        scored = _scored(piece)
        self._text += piece.text
        self._scores += scored
        if piece.text or scored:
            yield self._event("response.output_text.delta", **self._at, delta=piece.text, logprobs=scored)
        if piece.finish_reason is not None:
            yield from self._finish(_status(piece))

    def end(self) -> Iterator[bytes]:
        return iter(())

    def broke(self, fault: Fault) -> Iterator[bytes]:
        error = {"code": code_of(fault) or "invalid_request", "message": told(fault)}
        yield self._event("response.failed", response=self._response("failed", error=error))
        yield self._event("error", **error, param=fault.field)

    def _begin(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        item = _message(self._head, None, "in_progress")
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._at, part=_text_part("", []))

    def _finish(self, status: str) -> Iterator[bytes]:
        part = _text_part(self._text, self._scores)
        item = _message(self._head, part, status)
        response = self._response(status, output=[item], usage=_usage(self._pieces))
        yield self._event("response.output_text.done", **self._at, text=self._text, logprobs=self._scores)
        yield self._event("response.content_part.done", **self._at, part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)
        yield self._event(f"response.{status}", response=response)

    def _response(self, status: str, **more: Any) -> Json:
        return _response(self._body, self._head, status=status, **more)

    def _event(self, kind: str, **what: Any) -> bytes:
        number, self._count = self._count, self._count + 1
        return event({"type": kind, "sequence_number": number, **what}, kind)


def _messages(body: ResponseBody) -> list[Json]:
    before = [] if body.instructions is None else [{"role": "system", "content": body.instructions}]
    if isinstance(body.input, str):
        return [*before, {"role": "user", "content": body.input}]
    return [*before, *map(_plain, body.input)]


def _plain(item: Item) -> Json:
    content = item.content if isinstance(item.content, str) else "\n".join(part.text for part in item.content)
    return {"role": "system" if item.role == "developer" else item.role, "content": content}


def _status(piece: Piece) -> str:
    return "incomplete" if piece.finish_reason == "length" else "completed"


def _scored(piece: Piece) -> list[Any]:
    found = scores(piece)
    return [] if found is None else found.content


def _text_part(text: str, scored: list[Any]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": scored}


def _message(head: Head, part: Json | None, status: str) -> Json:
    content = [] if part is None else [part]
    return {"id": f"msg_{head.number}", "type": "message", "role": "assistant", "status": status, "content": content}


def _usage(pieces: Sequence[Piece]) -> Json:
    usage = counted(pieces)
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.prompt_tokens_details.cached_tokens,
            "truncated_tokens": sum(piece.truncated for piece in pieces),
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _response(
    body: ResponseBody,
    head: Head,
    *,
    status: str,
    output: Sequence[Json] = (),
    usage: Json | None = None,
    error: Mapping[str, Any] | None = None,
) -> Json:
    """A response as it stands; what was asked is told again, as clients expect."""
    reasoning = body.reasoning
    return {
        "id": f"resp_{head.number}",
        "object": "response",
        "created_at": head.created,
        "status": status,
        "background": False,
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": head.model,
        "output": list(output),
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"effort": None if reasoning is None else reasoning.effort, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": usage,
        "user": body.user,
    }

"""A response in events, numbered: it begins, its items begin, grow and end one after the other, it ends."""

from collections.abc import Iterator
from typing import Any, Literal

from ...hosting.asking import Fault, Piece
from ...results import ToolCall
from ..sse import MEDIA_TYPE, event
from .response_items import (
    Json,
    called,
    message,
    reasoning,
    response,
    scored,
    status_of,
    text_part,
    thought_part,
    usage,
)
from .types import ResponseBody
from .wording import Head, code_of, told


class ResponseScribe:
    """At most one item is open: of thought, of text or a call. Another of the same kind gets an id of its own."""

    media_type = MEDIA_TYPE

    def __init__(self, body: ResponseBody, head: Head) -> None:
        self._body = body
        self._head = head
        self._count = 0
        self._pieces: list[Piece] = []  # without their text
        self._output: list[Json] = []  # the items that have ended
        self._open: Literal["thought", "text", "call"] | None = None
        self._text = ""  # of the open item
        self._scores: list[Any] = []

    def write(self, piece: Piece) -> Iterator[bytes]:
        if piece.prompt_tokens is not None or piece.finish_reason is not None:
            self._pieces.append(piece)
        if piece.prompt_tokens is not None:
            yield self._event("response.created", response=self._response("in_progress"))
            yield self._event("response.in_progress", response=self._response("in_progress"))
            return
        if piece.thought:
            yield from self._think(piece.thought)
        if piece.text or scored(piece):
            yield from self._say(piece)
        if piece.part is not None:
            yield from self._call_on(piece.part)
        for call in piece.calls:
            yield from self._call(call)
        if piece.finish_reason is not None:
            yield from self._finish(status_of(piece))

    def end(self) -> Iterator[bytes]:
        return iter(())

    def broke(self, fault: Fault) -> Iterator[bytes]:
        error = {"code": code_of(fault) or "invalid_request", "message": told(fault)}
        yield self._event("response.failed", response=self._response("failed", error=error))
        yield self._event("error", **error, param=fault.field)

    @property
    def _number(self) -> str:
        """What the ids of items of this place end with."""
        place = len(self._output)
        return self._head.number if not place else f"{self._head.number}_{place}"

    @property
    def _at(self) -> Json:
        if self._open == "thought":
            return {"item_id": f"rs_{self._number}", "output_index": len(self._output), "summary_index": 0}
        return {"item_id": f"msg_{self._number}", "output_index": len(self._output), "content_index": 0}

    def _think(self, thought: str) -> Iterator[bytes]:
        if self._open != "thought":
            yield from self._close("completed")
            yield self._added(reasoning(self._number, None, "in_progress"))
            self._open = "thought"
            yield self._event("response.reasoning_summary_part.added", **self._at, part=thought_part(""))
        self._text += thought
        yield self._event("response.reasoning_summary_text.delta", **self._at, delta=thought)

    def _say(self, piece: Piece) -> Iterator[bytes]:
        if self._open != "text":
            yield from self._begin_text()
        self._text += piece.text
        self._scores += scored(piece)
        yield self._event("response.output_text.delta", **self._at, delta=piece.text, logprobs=scored(piece))

    def _begin_text(self) -> Iterator[bytes]:
        yield from self._close("completed")
        yield self._added(message(self._number, None, "in_progress"))
        self._open = "text"
        yield self._event("response.content_part.added", **self._at, part=text_part("", []))

    def _call_on(self, part: ToolCall) -> Iterator[bytes]:
        """What is new of the call that is open, which it may begin."""
        item = called(self._head.number, part, "in_progress", "")
        if self._open != "call":
            yield from self._close("completed")
            yield self._added(item)
            self._open = "call"
        at = {"item_id": item["id"], "output_index": len(self._output)}
        yield self._event("response.function_call_arguments.delta", **at, delta=part.arguments)

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        """The whole of a call; where it is open all of it was told."""
        if self._open != "call":
            yield from self._call_on(call)
        item = called(self._head.number, call)
        at = {"item_id": item["id"], "output_index": len(self._output)}
        yield self._event("response.function_call_arguments.done", **at, name=call.name, arguments=call.arguments)
        yield self._done(item)
        self._open = None

    def _close(self, status: str) -> Iterator[bytes]:
        """End the item that is open, if one is."""
        if self._open == "thought":
            yield self._event("response.reasoning_summary_text.done", **self._at, text=self._text)
            yield self._event("response.reasoning_summary_part.done", **self._at, part=thought_part(self._text))
            yield self._done(reasoning(self._number, self._text, status))
        elif self._open == "text":
            part = text_part(self._text, self._scores)
            yield self._event("response.output_text.done", **self._at, text=self._text, logprobs=self._scores)
            yield self._event("response.content_part.done", **self._at, part=part)
            yield self._done(message(self._number, part, status))
        self._open, self._text, self._scores = None, "", []

    def _finish(self, status: str) -> Iterator[bytes]:
        said = any(item["type"] != "reasoning" for item in self._output)
        if self._open != "text" and not said:
            yield from self._begin_text()
        yield from self._close(status)
        whole = self._response(status, output=self._output, usage=usage(self._pieces))
        yield self._event(f"response.{status}", response=whole)

    def _added(self, item: Json) -> bytes:
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _done(self, item: Json) -> bytes:
        self._output.append(item)
        return self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _response(self, status: str, **more: Any) -> Json:
        return response(self._body, self._head, status=status, **more)

    def _event(self, kind: str, **what: Any) -> bytes:
        number, self._count = self._count, self._count + 1
        return event({"type": kind, "sequence_number": number, **what}, kind)

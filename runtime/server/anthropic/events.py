"""A message in events: it begins, its blocks begin, grow and end in turn, and last the reason why it ended."""

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Raw

from ...hosting.asking import Fault, Piece
from ...results import ToolCall
from ..sse import MEDIA_TYPE, event
from .messages import ANTHROPIC, reason, usage_of
from .results import Message as Answer
from .results import Text, Thinking, ToolUse, Usage
from .types import MessagesBody


class MessageScribe:
    """At most one block is open: of thought, of text or of a call."""

    media_type = MEDIA_TYPE

    def __init__(self, body: MessagesBody, number: str) -> None:
        self._body = body
        self._number = number
        self._place = 0  # of the block that is open, or of the next
        self._open: Literal["thought", "text", "call"] | None = None
        self._called = False

    def write(self, piece: Piece) -> Iterator[bytes]:
        if piece.prompt_tokens is not None:
            yield from self._begin(len(piece.prompt_tokens))
            return
        if piece.thought:
            yield from self._opened("thought", Thinking(""))
            yield self._delta(type="thinking_delta", thinking=piece.thought)
        if piece.text:
            yield from self._opened("text", Text(""))
            yield self._delta(type="text_delta", text=piece.text)
        if piece.part is not None:
            yield from self._call(piece.part)
        for call in piece.calls:
            if self._open != "call":  # else all of it was told
                yield from self._call(call)
            yield from self._close()
        if piece.finish_reason is not None:
            yield from self._finish(piece)

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
        yield _event("ping")

    def _opened(self, kind: Literal["thought", "text", "call"], block: Text | Thinking | ToolUse) -> Iterator[bytes]:
        if self._open != kind:
            yield from self._close()
            yield _event("content_block_start", index=self._place, content_block=block)
            self._open = kind

    def _close(self) -> Iterator[bytes]:
        if self._open == "thought":
            yield self._delta(type="signature_delta", signature="")
        if self._open is not None:
            yield _event("content_block_stop", index=self._place)
            self._place, self._open = self._place + 1, None

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        """A call, or what is new of the one that is open."""
        yield from self._opened("call", ToolUse(call.id, call.name, Raw(b"{}")))
        yield self._delta(type="input_json_delta", partial_json=call.arguments)
        self._called = True

    def _finish(self, piece: Piece) -> Iterator[bytes]:
        if not self._called and self._open != "text":
            yield from self._opened("text", Text(""))
        yield from self._close()
        why = reason(piece, self._body.max_tokens, called=self._called)
        yield _event("message_delta", delta={"stop_reason": why, "stop_sequence": piece.stop}, usage=usage_of(piece))
        yield _event("message_stop")

    def _delta(self, **delta: str) -> bytes:
        return _event("content_block_delta", index=self._place, delta=delta)


def _event(kind: str, **what: Any) -> bytes:
    return event({"type": kind, **what}, kind)

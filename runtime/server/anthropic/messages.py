"""/v1/messages: from its body to what is asked, and from the pieces of the answer to a whole message."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...hosting.asking import Ask, Fault, Piece
from ...text.answers.thoughts import wished
from ..asked import sampling, seconds
from ..endpoint import invalid
from .results import Message as Answer
from .results import Reason, Text, Thinking, ToolUse, Usage
from .tools import in_history, offered, tool_use
from .types import Conversation, CountBody, MessagesBody

NAMES = {
    "prompt": "messages",
    "stop": "stop_sequences",
    "schema": "output_config.format.schema",
    "grammar": "tools",
    "tools[].function.parameters": "tools[].input_schema",
}
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
        **offered(body),
        calls_in_parts=bool(body.stream),
        variables=thinking(body),
        params=sampling(
            max_tokens=body.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            stop=body.stop_sequences,
            schema=_schema(body),
        ),
        fit=True,
        priority=body.priority or 0,
        keep_alive=seconds(body.keep_alive),
        watched=bool(body.stream),
    )


def to_count(body: CountBody) -> Ask:
    """The prompt whose tokens are to be counted. Raises `Refused`."""
    return Ask(model=body.model, messages=conversation(body), variables=thinking(body), **offered(body))


def conversation(body: Conversation) -> list[dict[str, Any]]:
    """The messages as templates know them, the system's words first. Raises `Refused`."""
    if body.messages[-1].role == "assistant":
        raise invalid("messages", "messages ends with the assistant's; continuing its words is not supported")
    system = body.system if isinstance(body.system, str) else "\n".join(block.text for block in body.system or ())
    before = [{"role": "system", "content": system}] if system else []
    return [*before, *(one for place, message in enumerate(body.messages) for one in in_history(message, place))]


def thinking(body: Conversation) -> dict[str, Any]:
    """The variables by which templates know whether to think, and how much."""
    think = None if body.thinking is None else body.thinking.type != "disabled"
    return wished(think, None if body.output_config is None else body.output_config.effort)


def whole(pieces: Sequence[Piece], body: MessagesBody, number: str) -> Answer:
    """The message, all of it there."""
    last = next(piece for piece in pieces if piece.finish_reason is not None)
    return Answer(
        id=f"msg_{number}",
        model=body.model,
        content=_blocks(last),
        stop_reason=reason(last, body.max_tokens, called=bool(last.calls)),
        stop_sequence=last.stop,
        usage=usage_of(last),
    )


def _schema(body: Conversation) -> dict[str, Any] | None:
    form = None if body.output_config is None else body.output_config.format
    return None if form is None else form.schema


def _blocks(piece: Piece) -> list[Text | Thinking | ToolUse]:
    """The parts of a whole message; one that says nothing says so."""
    thought = [Thinking(piece.thought)] if piece.thought else []
    said = [Text(piece.text)] if piece.text or not piece.calls else []
    return [*thought, *said, *(tool_use(call) for call in piece.calls)]


def reason(piece: Piece, most: int, *, called: bool) -> Reason:
    """Why a message ended; `called`: it wants tools called."""
    if piece.finish_reason == "length":
        made = 0 if piece.usage is None else piece.usage.completion_tokens
        return "max_tokens" if made >= most else "model_context_window_exceeded"
    if piece.stop is not None:
        return "stop_sequence"
    return "tool_use" if called else "end_turn"


def usage_of(piece: Piece) -> Usage:
    if piece.usage is None:
        return Usage(0, 0, 0)
    cached = piece.usage.cached_tokens
    return Usage(piece.usage.prompt_tokens - cached, cached, piece.usage.completion_tokens)

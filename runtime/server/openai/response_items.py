"""What a response consists of, in OpenAI's words: items of thought, of text and of calls, and what is around them.

Nothing is kept between requests: a conversation comes whole each time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...hosting.asking import Piece
from ...results import ToolCall
from ..reading import as_plain
from .types import ResponseBody
from .wording import Head, counted, scores

Json = dict[str, Any]


def status_of(piece: Piece) -> str:
    return "incomplete" if piece.finish_reason == "length" else "completed"


def scored(piece: Piece) -> list[Any]:
    found = scores(piece)
    return [] if found is None else found.content


def text_part(text: str, scored: list[Any]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": scored}


def thought_part(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def message(number: str, part: Json | None, status: str) -> Json:
    content = [] if part is None else [part]
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": status, "content": content}


def reasoning(number: str, thought: str | None, status: str) -> Json:
    summary = [] if thought is None else [thought_part(thought)]
    return {"id": f"rs_{number}", "type": "reasoning", "summary": summary, "status": status}


def called(number: str, call: ToolCall, status: str | None = None, arguments: str | None = None) -> Json:
    """`status` None: completed, or incomplete where it was cut."""
    return {
        "id": f"fc_{number}_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments if arguments is None else arguments,
        "status": status or ("completed" if call.is_whole else "incomplete"),
    }


def whole(pieces: Sequence[Piece], body: ResponseBody, head: Head) -> Json:
    """The response, all of it there."""
    last = next(piece for piece in pieces if piece.finish_reason is not None)
    status, number = status_of(last), head.number
    items = [reasoning(number, last.thought, "completed")] if last.thought else []
    if last.text or not last.calls:
        items.append(message(number, text_part(last.text, scored(last)), status))
    items += [called(number, one) for one in last.calls]
    return response(body, head, status=status, output=items, usage=usage(pieces))


def usage(pieces: Sequence[Piece]) -> Json:
    told = counted(pieces)
    return {
        "input_tokens": told.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": told.prompt_tokens_details.cached_tokens,
            "truncated_tokens": sum(piece.truncated for piece in pieces),
        },
        "output_tokens": told.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": told.total_tokens,
    }


def response(
    body: ResponseBody,
    head: Head,
    *,
    status: str,
    output: Sequence[Json] = (),
    usage: Json | None = None,
    error: Mapping[str, Any] | None = None,
) -> Json:
    """A response as it stands; what was asked is told again, as clients expect."""
    effort = None if body.reasoning is None else body.reasoning.effort
    form = None if body.text is None else body.text.format
    choice = body.tool_choice or "auto"
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
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": effort, "summary": None},
        "store": False,
        "temperature": body.temperature,
        "text": {"format": {"type": "text"} if form is None else as_plain(form)},
        "tool_choice": choice if isinstance(choice, str) else as_plain(choice),
        "tools": [as_plain(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": body.truncation or "disabled",
        "usage": usage,
        "user": body.user,
    }

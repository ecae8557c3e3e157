"""/v1/responses: from its body to what is asked. Nothing is kept: a conversation comes whole each time."""

from typing import Any

from ...hosting.asking import Ask
from ..asked import Names, seconds, variables
from ..endpoint import Refused, invalid
from .asking import sampled, schema_of, thinking
from .tools import as_function, choice
from .types import Effort, Item, ResponseBody, SaidPart

FORMAT = "text.format"

Json = dict[str, Any]


def to_ask(body: ResponseBody) -> Ask:
    """What `body` asks. Raises `Refused` and `InvalidParameter`."""
    if body.background:
        raise invalid("background", "background is not supported")
    return Ask(
        model=body.model,
        messages=_messages(body),
        tools=[as_function(tool) for tool in body.tools or ()],
        tool_choice=choice(body.tool_choice),
        parallel_calls=body.parallel_tool_calls is not False,
        calls_in_parts=bool(body.stream),
        variables={**thinking(effort(body)), **variables(body.chat_template_kwargs)},
        params=sampled(
            body,
            max_tokens=body.max_output_tokens,
            logprobs=(body.top_logprobs or 0) if wants_scores(body) else None,
            schema=None if body.text is None else schema_of(body.text.format),
        ),
        truncate=body.truncation == "auto",
        priority=body.priority or 0,
        keep_alive=seconds(body.keep_alive),
        watched=bool(body.stream),
    )


def effort(body: ResponseBody) -> Effort | None:
    return None if body.reasoning is None else body.reasoning.effort


def names(body: ResponseBody) -> Names:
    """What the fields are called here."""
    formed = body.text is not None and body.text.format is not None
    called = {} if body.tools is None or body.grammar is not None else {"grammar": "tools"}
    usual = {
        "prompt": "input",
        "max_tokens": "max_output_tokens",
        "tools[].function.parameters": "tools[].parameters",
    }
    return {**usual, **({"schema": FORMAT} if formed else {}), **called}


def wants_scores(body: ResponseBody) -> bool:
    return "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)


def _messages(body: ResponseBody) -> list[Json]:
    before = [] if body.instructions is None else [{"role": "system", "content": body.instructions}]
    if isinstance(body.input, str):
        return [*before, {"role": "user", "content": body.input}]
    messages: list[Json] = []
    for place, item in enumerate(body.input):
        _add(messages, item, f"input[{place}]")
    return [*before, *messages]


def _add(messages: list[Json], item: Item, where: str) -> None:
    """Thoughts, words and calls that stand together are one message to a template."""
    if item.type == "function_call_output":
        answered = {"tool_call_id": _needed(item.call_id, f"{where}.call_id"), "content": _text(item.output or "")}
        messages.append({"role": "tool", **answered})
        return
    if item.type == "message":
        role = _needed(item.role, f"{where}.role")
        if item.content is None:
            raise _missing(f"{where}.content")
        content = _text(item.content)
        if role != "assistant":
            messages.append({"role": "system" if role == "developer" else role, "content": content})
            return
        said = _answer(messages)
        said["content"] = "\n".join(filter(None, [said["content"], content]))
    elif item.type == "reasoning":
        thought = _text(item.summary or item.content or "")
        messages.append({"role": "assistant", "content": "", "reasoning_content": thought})
    else:
        function = {"name": _needed(item.name, f"{where}.name"), "arguments": item.arguments or ""}
        call = {"id": _needed(item.call_id, f"{where}.call_id"), "function": function}
        _answer(messages).setdefault("tool_calls", []).append(call)


def _answer(messages: list[Json]) -> Json:
    """The answer that goes on, or a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _text(given: str | list[SaidPart]) -> str:
    return given if isinstance(given, str) else "\n".join(part.text for part in given)


def _needed(value: str | None, field: str) -> str:
    if value is None:
        raise _missing(field)
    return value


def _missing(field: str) -> Refused:
    return invalid(field, f"{field} is missing")

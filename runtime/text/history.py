"""Earlier calls of tools in a conversation, as chat templates expect them: whole, each result with its tool's name.

Clients differ: some give no ids, some write arguments as text of JSON and some as what it says. Knows no template.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..errors import InvalidPrompt

Message: TypeAlias = Mapping[str, Any]


def calls_any(messages: Sequence[Message]) -> bool:
    return any(message.get("tool_calls") for message in messages)


def with_calls(messages: Sequence[Message], *, as_text: bool = False) -> list[Message]:
    """The messages, every call with an id and its arguments as a mapping, or `as_text`; every result with the id and
    the name of the call that it answers. Raises `InvalidPrompt` for what is no call.
    """
    open_calls = _Calls()
    return [_whole(message, open_calls, as_text) for message in messages]


@dataclass(slots=True)
class _Calls:
    """Those that were made so far: names by ids, and which of them wait for a result."""

    names: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def made(self, known: object, name: str) -> str:
        number = known if isinstance(known, str) and known else f"call{len(self.names) + 1:05}"
        self.names[number] = name
        self.waiting.append(number)
        return number

    def answered(self, known: object, name: object) -> str | None:
        """The id of the call that a result is for: the one that it names, else the first that waits and fits."""
        if isinstance(known, str) and known:
            number: str | None = known
        else:
            fitting = (one for one in self.waiting if name is None or self.names[one] == name)
            number = next(fitting, None)
        if number in self.waiting:
            self.waiting.remove(number)
        return number


def _whole(message: Message, calls: _Calls, as_text: bool) -> Message:
    if message.get("tool_calls"):
        made = list(_calls(message["tool_calls"], calls, as_text))
        return {**message, "content": message.get("content") or "", "tool_calls": made}
    if message.get("role") != "tool":
        return message
    name = message.get("name") or message.get("tool_name")
    number = calls.answered(message.get("tool_call_id"), name)
    found = {"tool_call_id": number, "name": name or calls.names.get(number or "")}
    return {**message, **{key: value for key, value in found.items() if value is not None}}


def _calls(given: object, calls: _Calls, as_text: bool) -> Iterator[dict[str, Any]]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InvalidPrompt("tool_calls is a list of calls")
    for one in given:
        function = one.get("function", one) if isinstance(one, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidPrompt("a tool call has a function, and that a name and arguments")
        number = calls.made(one.get("id"), function["name"])
        arguments = _arguments(function.get("arguments"), as_text)
        yield {"id": number, "type": "function", "function": {**function, "arguments": arguments}}


def _arguments(given: object, as_text: bool) -> object:
    if as_text:
        return given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False, default=str)
    if not isinstance(given, str):
        return {} if given is None else given
    try:
        values = json.loads(given or "{}")
    except (ValueError, RecursionError):
        return given
    return values if isinstance(values, dict) else given

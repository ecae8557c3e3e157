"""How a family of models writes down that it wants a tool called, as facts; and how such JSON is read.

A style is an instance of `CallStyle` in a file of its own. Nothing here knows of streams: a call is read once it is
written whole, so that one which turns out to be none can still be told as the text that it is.
"""

import json
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ...results import ToolCall

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]  # of the parameters of each tool that is offered, by its name
Message: TypeAlias = Mapping[str, Any]

JSON_BEGINS: Final = (
    r'\{\s*(?:"tool_call_id"\s*:\s*"[^"]*"\s*,\s*)?"(?:tool_)?name"\s*:\s*"(?P<name>(?:[^"\\]|\\.)+)"\s*,\s*'
    r'"(?:arguments|parameters)"\s*:\s*'
)

_LETTERS: Final = string.ascii_letters + string.digits
_BETWEEN: Final = " \t\r\n;,"  # values
_ID_LENGTH: Final = 9  # which the templates of Mistral insist on


class Malformed(ValueError):
    """What was written is no call. `unfinished`: it breaks off inside a text, what follows may belong to it."""

    def __init__(self, *, unfinished: bool = False) -> None:
        super().__init__("no call")
        self.unfinished = unfinished


@dataclass(frozen=True, slots=True)
class Free:
    """Text of a regular expression."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """What need not be there."""

    parts: "tuple[Part, ...]"


Part: TypeAlias = "str | Mapping[str, Any] | Free | Maybe"  # a text as it stands, JSON of a schema ...


@dataclass(frozen=True, slots=True)
class Layout:
    """How calls are written where they must be: what is around all of them, between two, and one of them by its name
    and the schema of its parameters.
    """

    one: Callable[[str, Mapping[str, Any]], Sequence[Part]]
    before: str = ""
    between: str = ""
    after: str = ""
    several: bool = True  # False: the family writes one call an answer


def _as_they_are(messages: Sequence[Message], _tools: Sequence[Any]) -> Sequence[Message]:
    return messages


@dataclass(frozen=True, slots=True)
class CallStyle:
    """`shown_by` are texts that a template of the family has, all of one of these groups.

    A call begins with one of `openings` and goes on until `closing`, or until another opening or the answer's end where
    that is None. An answer that begins with one of `heads`, blanks left out, is a call from its first letter on.
    `inner` are marks within a call. `read` takes all of it, every mark included, and raises `Malformed`. `prepare`
    makes a conversation with these tools such that the family's templates take it.

    `begins` is a regular expression of what stands before the arguments of one call, its `name` in it: by it a call is
    known that breaks off. `writes_json`: the arguments are JSON.
    """

    shown_by: tuple[tuple[str, ...], ...]
    openings: tuple[str, ...]
    closing: str | None
    read: Callable[[str, Schemas], list[ToolCall]]
    layout: Layout
    heads: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    prepare: Callable[[Sequence[Message], Sequence[Any]], Sequence[Message]] = field(default=_as_they_are)
    begins: str = JSON_BEGINS
    writes_json: bool = True

    def is_shown_by(self, template: str) -> bool:
        return any(all(mark in template for mark in group) for group in self.shown_by)


def call(name: object, arguments: object) -> ToolCall:
    """A call with a new id. Raises `Malformed` where the name or the arguments are none."""
    if isinstance(arguments, str):  # some models write the object as a text of JSON
        arguments = parsed(arguments)
    if arguments is None:
        arguments = {}
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise Malformed
    return ToolCall(new_id(), name, written(arguments))


def calls_in(text: str) -> list[ToolCall]:
    """The calls in JSON: objects, or lists of them, in any of the spellings that models use."""
    values = parsed_all(text)
    found = [_call_of(one) for value in values for one in (value if isinstance(value, list) else [value])]
    if not found:
        raise Malformed
    return found


def parsed(text: str) -> Any:
    """The one JSON value in `text`, with blanks around it."""
    value, end = parsed_first(text)
    if text[end:].strip():
        raise Malformed
    return value


def parsed_first(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at `start`, blanks left out, and where it ends."""
    try:
        return _DECODER.raw_decode(text, len(text) - len(text[start:].lstrip()))
    except json.JSONDecodeError as error:
        raise Malformed(unfinished=error.msg.startswith(("Unterminated string", "Invalid \\"))) from None
    except (ValueError, RecursionError):  # NaN, a number of thousands of digits, lists too deep
        raise Malformed from None


def parsed_all(text: str) -> list[Any]:
    """The JSON values in `text`, one behind the other."""
    values, place = list[Any](), 0
    while place < len(text):
        value, place = parsed_first(text, place)
        values.append(value)
        place = len(text) - len(text[place:].lstrip(_BETWEEN))
    return values


def written(value: object) -> str:
    """`value` as JSON; letters as they are, halves of characters as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def literal(name: str) -> str:
    """The inside of `name` as a text of JSON."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def between(text: str, opening: str, closing: str) -> str:
    """`text` less its marks; the last may be missing."""
    return text.strip().removeprefix(opening).removesuffix(closing)


def new_id() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))


def _call_of(one: object) -> ToolCall:
    if not isinstance(one, dict):
        raise Malformed
    inner = one.get("function")
    if isinstance(inner, dict):
        one = inner
    name = one.get("name", inner if isinstance(inner, str) else one.get("tool_name"))
    for key in ("arguments", "parameters"):
        if key in one:
            return call(name, one[key])
    raise Malformed


def _no_number(text: str) -> None:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)

"""A request's body: bounded, JSON, and exactly of the type that the endpoint takes.

A field that is not known is refused by its name: nothing that a client asks for is ignored in silence. What an endpoint
ignores on purpose stands in its type, with a docstring that says so.
"""

import asyncio
import json
import re
from collections import Counter
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from ..hosting.asking import Fault
from .endpoint import Refused, invalid

MOST_BYTES = 64 << 20  # of a body; images come inside
WITHIN = 60.0  # seconds that a body may take

Body = TypeVar("Body", bound=msgspec.Struct)

_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_NEVER = re.compile(r"Expected `null`, got .*|Expected `array` of length <= 0")  # how types say: not supported


async def read_json(request: Request, kind: type[Body], most: int = MOST_BYTES) -> Body:
    """The body as `kind`. Raises `Refused`, naming the field that is wrong."""
    body = await read_bytes(request, most)
    if not body:
        raise invalid(None, "missing request body")
    return decode(body, kind)


async def read_bytes(request: Request, most: int = MOST_BYTES) -> bytes:
    """All of the body; one that is too long is refused before it is read where it says so, or while it comes."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large(most)
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(WITHIN):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large(most)
                parts.append(part)
    except TimeoutError:
        raise Refused(Fault("invalid", f"the body did not come within {WITHIN:.0f} s"), 408) from None
    return b"".join(parts)


def decode(body: bytes, kind: type[Body]) -> Body:
    """The body as `kind`. A field that stands there twice is refused: others might read the one that we do not."""
    try:
        decoded = msgspec.json.decode(body, type=kind)
        json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)  # for numbers of any length
        return decoded
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid(None, f"the body is not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each of its names there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise invalid(name, f"{name} stands there more than once")
    return found


def too_large(most: int) -> Refused:
    return Refused(Fault("invalid", f"the body is longer than {most} bytes"), 413)


def _explained(text: str) -> Refused:
    """msgspec's words, with the field told apart."""
    place = _PLACE.search(text)
    where = place[1] if place else ""
    message = _PLACE.sub("", text)
    if _NEVER.fullmatch(message):
        return invalid(where, f"{where} is not supported")
    for pattern, what in ((_UNKNOWN, "is not supported"), (_MISSING, "is missing")):
        if found := pattern.fullmatch(message):
            name = ".".join(part for part in (where, found[1]) if part)
            return invalid(name, f"{name} {what}")
    return invalid(where or None, f"{where}: {message}" if where else message)


def as_plain(value: Any) -> Any:
    """A struct as plain data."""
    return msgspec.to_builtins(value)

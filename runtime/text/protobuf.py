"""Protocol buffers as they lie in a file: numbered fields, one behind the other.

Reads the few kinds that tokenizers use, no schema, and never past the end of what it was given. Knows no tokenizer.
"""

import struct
from collections.abc import Iterator
from typing import TypeAlias

Field: TypeAlias = tuple[int, "int | bytes"]

_LONGEST_NUMBER = 10  # bytes
_FIXED = {1: 8, 5: 4}


class BrokenMessage(ValueError):
    """Bytes that are no protocol buffer."""


def fields(message: bytes) -> Iterator[Field]:
    """Number and value of each field: a whole number, or the bytes of anything else."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _number(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _number(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _number(message, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise BrokenMessage(f"byte {at} begins a field of kind {kind}, which nothing uses")
        if size > end - at:
            raise BrokenMessage(f"a field of {size} bytes begins at byte {at} of {end}")
        yield tag >> 3, message[at : at + size]
        at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The number of varying length that begins at `at`, and where it ends."""
    if at < len(message) and message[at] < 0x80:
        return message[at], at + 1
    number = 0
    for place, byte in enumerate(message[at : at + _LONGEST_NUMBER]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at + place + 1
    raise BrokenMessage(f"the number at byte {at} does not end")


def text(value: int | bytes) -> str:
    """A field that is a string."""
    return blob(value).decode()  # what is not UTF-8 raises UnicodeDecodeError, a ValueError as well


def blob(value: int | bytes) -> bytes:
    """A field that is bytes or a message."""
    if isinstance(value, int):
        raise BrokenMessage(f"{value} stands where bytes belong")
    return value


def whole(value: int | bytes) -> int:
    """A field that is a whole number."""
    if isinstance(value, bytes):
        raise BrokenMessage("bytes stand where a number belongs")
    return value


def single(value: int | bytes) -> float:
    """A field that is a number of four bytes with a point."""
    if isinstance(value, int) or len(value) != 4:
        raise BrokenMessage("something stands where a number of four bytes belongs")
    return float(struct.unpack("<f", value)[0])

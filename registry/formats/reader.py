"""One regular file, read within its bounds.

Every length that a file states is compared with the bytes that are left before it is used. Knows no format.
"""

import mmap
import os
import stat
import sys
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self, TypeAlias

from ..errors import FormatError
from .limits import MAX_GGUF_HEADER, MAX_ITEMS, MAX_NAME, MAX_STRING, MAX_TEXT

Numbers: TypeAlias = "array[int] | array[float]"

_U32, _U64 = Struct("<I"), Struct("<Q")


def open_regular(path: Path, *, follow: bool = True) -> int:
    """A descriptor of a regular file; a pipe or a device is refused without waiting for it, a link where not `follow`.

    The `FormatError` is caused by what the operating system says.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise FormatError(path, "file", _cause(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError(path, "file", "is not a regular file")
    return descriptor


def regular_size(path: Path) -> int:
    """How many bytes a regular file has."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise FormatError(path, "file", _cause(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, "file", "is not a regular file")
    return status.st_size


def _cause(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class BoundedReader:
    """The bytes of one file and a place in it. A context manager: the file is mapped while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        descriptor = open_regular(path)
        try:
            self.size = os.fstat(descriptor).st_size
            if not self.size:
                raise FormatError(path, "file", "is empty")
            self.bytes = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self.stop = self.size
        self._text = 0
        self._items = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes.close()

    def error(self, field: str, reason: str, offset: int | None = None) -> FormatError:
        return FormatError(self.path, field, reason, self.position if offset is None else offset)

    def limit_header(self) -> None:
        """From here on, nothing lies beyond `MAX_GGUF_HEADER`."""
        self.stop = min(self.size, MAX_GGUF_HEADER)

    def require(self, count: int, field: str) -> None:
        """See that `count` more bytes are there."""
        if count <= self.stop - self.position:
            return
        if self.stop == MAX_GGUF_HEADER:
            raise self.error(field, f"the header has more than {MAX_GGUF_HEADER} bytes")
        raise self.error(field, f"takes {count} bytes, {self.stop - self.position} are left")

    def take(self, count: int, field: str) -> bytes:
        self.require(count, field)
        start = self.position
        self.position += count
        return self.bytes[start : self.position]

    def pass_over(self, count: int, field: str) -> None:
        self.require(count, field)
        self.position += count

    def unpack(self, layout: Struct, field: str) -> int | float | bool:
        """The one number that `layout` describes."""
        self.require(layout.size, field)
        number: int | float | bool = layout.unpack_from(self.bytes, self.position)[0]
        self.position += layout.size
        return number

    def u32(self, field: str) -> int:
        return int(self.unpack(_U32, field))

    def u64(self, field: str) -> int:
        return int(self.unpack(_U64, field))

    def spend_text(self, count: int, field: str) -> None:
        """Count bytes that become text, which may take four times as much memory."""
        self._text += count
        if self._text > MAX_TEXT:
            raise self.error(field, f"the header has more than {MAX_TEXT} bytes of text")

    def spend_items(self, count: int, field: str) -> None:
        """Count items of lists, each of which becomes an object."""
        self._items += count
        if self._items > MAX_ITEMS:
            raise self.error(field, f"the header has more than {MAX_ITEMS} strings or truth values in arrays")

    def name(self, field: str) -> str:
        """A key: its length, then its bytes."""
        return self._string(field, MAX_NAME)

    def text(self, field: str) -> str:
        """A string: its length, then its bytes."""
        return self._string(field, MAX_STRING)

    def _string(self, field: str, most: int) -> str:
        start = self.position
        length = self.u64(f"length of {field}")
        if length > most:
            raise self.error(f"length of {field}", f"is {length}, more than {most}", start)
        raw = self.take(length, field)
        self.spend_text(length, field)
        return self.decode(raw, field, start + 8)

    def decode(self, raw: bytes, field: str, offset: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.error(field, "is not UTF-8", offset + error.start) from error

    def strings(self, count: int, field: str) -> list[str]:
        """`count` strings, one behind the other."""
        found = []
        start, mapped = self.position + 8, self.bytes
        for stop in self._ends(count, field):
            try:
                found.append(mapped[start:stop].decode())
            except UnicodeDecodeError as error:
                raise self.error(f"item {len(found)} of {field}", "is not UTF-8", start + error.start) from error
            start = stop + 8
        return found

    def pass_strings(self, count: int, field: str) -> None:
        deque(self._ends(count, field), maxlen=0)

    def _ends(self, count: int, field: str) -> Iterator[int]:
        """Where each of `count` strings ends; the reader is behind them when it ends.

        A loop over local names, with one bound for all: a vocabulary has hundreds of thousands.
        """
        self.spend_items(count, field)
        mapped, length_at, begin = self.bytes, _U64.unpack_from, self.position
        most = min(self.stop, begin + MAX_TEXT + 8 * count)
        position = begin
        for index in range(count):
            start = position + 8
            position = start + length_at(mapped, position)[0] if start <= most else most + 1
            if position > most:
                raise self._too_much(index, field, start, position)
            yield position
        self.position = position
        self.spend_text(position - begin - 8 * count, field)

    def _too_much(self, index: int, field: str, start: int, stop: int) -> FormatError:
        if stop > self.stop:
            return self.error(f"item {index} of {field}", "is longer than the file or the limit", start - 8)
        return self.error(field, f"the header has more than {MAX_TEXT} bytes of text", start)

    def numbers(self, code: str, count: int, field: str) -> Numbers:
        """`count` little-endian numbers of one kind, in `array`'s letters."""
        values: Numbers = array(code)
        values.frombytes(self.take(count * values.itemsize, field))
        if sys.byteorder == "big":
            values.byteswap()
        return values

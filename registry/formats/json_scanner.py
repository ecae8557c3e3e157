"""JSON read where it lies, for headers of a known shape.

Nothing is built but what the caller asks for, so the memory that a header takes is bounded by what it may hold, not by
what somebody wrote; and every complaint knows its byte. Knows no format.
"""

import json
import re
from collections.abc import Iterator

from .limits import MAX_DEPTH, MAX_NAME, MAX_STRING, MAX_VALUES
from .reader import BoundedReader

# Each pattern takes the blanks before what it wants, which is its one group.
_BLANKS = rb"[ \t\n\r]*+"
_TEXT = rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+"'
_ANY_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![0-9.eE])"
_SPACE = re.compile(_BLANKS)
_STRING = re.compile(_BLANKS + b"(" + _TEXT + b")")
_WHOLE_NUMBER = re.compile(_BLANKS + rb"(0|[1-9][0-9]{0,18})(?![0-9.eE])")
_NUMBER = re.compile(_BLANKS + b"(" + _ANY_NUMBER + b")")
_SCALAR = re.compile(_BLANKS + b"(" + _TEXT + b"|" + _ANY_NUMBER + b"|true|false|null)")
_MARKS = {mark: re.compile(_BLANKS + re.escape(mark)) for mark in (b"{", b"}", b"[", b"]", b":", b",")}
_LONGEST_NUMBER = 100


class JSONScanner:
    """A place in the JSON text that fills a reader's bytes from `reader.position` to `stop`."""

    def __init__(self, reader: BoundedReader, stop: int) -> None:
        self._reader = reader
        self._stop = stop
        self._values = 0

    @property
    def at(self) -> int:
        return self._reader.position

    def keys(self, field: str, most: int) -> Iterator[str]:
        """The keys of an object, no two the same. The caller reads each one's value before it asks for the next."""
        seen = set[str]()
        self._expect(b"{", field)
        if self._accept(b"}"):
            return
        while True:
            key = self.string(f"key in {field}", MAX_NAME)
            if key in seen:
                raise self._reader.error(field, f"{key!r} is there twice")
            if len(seen) == most:
                raise self._reader.error(field, f"has more than {most} keys")
            seen.add(key)
            self._expect(b":", field)
            yield key
            if self._accept(b"}"):
                return
            self._expect(b",", field)

    def string(self, field: str, most: int = MAX_STRING) -> str:
        raw = self._match(_STRING, field, "a string", most)
        self._reader.spend_text(len(raw), field)
        if b"\\" not in raw:
            return self._reader.decode(raw[1:-1], field, self.at - len(raw) + 1)
        return self._unescaped(raw, field)

    def whole_number(self, field: str) -> int:
        """A number without sign, fraction or exponent."""
        return int(self._match(_WHOLE_NUMBER, field, "a whole number"))

    def number(self, field: str) -> float:
        """A number of any kind."""
        return float(self._match(_NUMBER, field, "a number", _LONGEST_NUMBER))

    def whole_numbers(self, field: str, most: int) -> tuple[int, ...]:
        numbers: list[int] = []
        self._expect(b"[", field)
        if self._accept(b"]"):
            return ()
        while True:
            if len(numbers) == most:
                raise self._reader.error(field, f"has more than {most} numbers")
            numbers.append(self.whole_number(field))
            if self._accept(b"]"):
                return tuple(numbers)
            self._expect(b",", field)

    def skip(self, field: str) -> None:
        """Pass over a value of any kind."""
        self._skip(field, 0)

    def end(self, field: str) -> None:
        """See that nothing follows but blanks."""
        self._blanks()
        if self.at != self._stop:
            raise self._reader.error(field, "something follows its end")

    def _skip(self, field: str, depth: int) -> None:
        self._spend(field)
        if depth > MAX_DEPTH:
            raise self._reader.error(field, f"is nested deeper than {MAX_DEPTH}")
        if self._accept(b"["):
            self._skip_items(field, depth, b"]", named=False)
        elif self._accept(b"{"):
            self._skip_items(field, depth, b"}", named=True)
        else:
            self._match(_SCALAR, field, "a value")

    def _skip_items(self, field: str, depth: int, close: bytes, *, named: bool) -> None:
        if self._accept(close):
            return
        while True:
            if named:
                self._match(_STRING, field, "a key")
                self._expect(b":", field)
            self._skip(field, depth + 1)
            if self._accept(close):
                return
            self._expect(b",", field)

    def _unescaped(self, raw: bytes, field: str) -> str:
        start = self.at - len(raw)
        try:
            text = json.loads(self._reader.decode(raw, field, start))
            text.encode()  # half a surrogate pair is no text
        except ValueError as error:
            raise self._reader.error(field, f"is not a string of text: {error}", start) from error
        return str(text)

    def _spend(self, field: str) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._reader.error(field, f"the file has more than {MAX_VALUES} keys and values")

    def _match(self, pattern: re.Pattern[bytes], field: str, wanted: str, most: int = MAX_STRING) -> bytes:
        self._spend(field)
        found = pattern.match(self._reader.bytes, self.at, self._stop)
        if found is None:
            self._blanks()
            raise self._reader.error(field, f"{wanted} is wanted here, not {self._here()}")
        if found.end(1) - found.start(1) > most:
            raise self._reader.error(field, f"has more than {most} bytes", found.start(1))
        self._reader.position = found.end()
        return found.group(1)

    def _expect(self, mark: bytes, field: str) -> None:
        if not self._accept(mark):
            self._blanks()
            raise self._reader.error(field, f"{mark.decode()!r} is wanted here, not {self._here()}")

    def _accept(self, mark: bytes) -> bool:
        found = _MARKS[mark].match(self._reader.bytes, self.at, self._stop)
        if found is not None:
            self._reader.position = found.end()
        return found is not None

    def _blanks(self) -> None:
        blanks = _SPACE.match(self._reader.bytes, self.at, self._stop)
        if blanks is not None:
            self._reader.position = blanks.end()

    def _here(self) -> str:
        rest = self._reader.bytes[self.at : min(self.at + 20, self._stop)]
        return repr(rest)[1:] if rest else "the end"

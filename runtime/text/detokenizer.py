"""Token ids to text as they come: whole characters only, and in the end exactly the text of all of them.

A token may end inside a character; its bytes wait until the character is whole. The work per token does not grow with
the text.
"""

import codecs
from collections.abc import Iterable, Sequence
from typing import Protocol

from .tokenizer import Tokenizer, drop_leading

REPLACEMENT = "\ufffd"


class Decodes(Protocol):
    """All that is asked of a tokenizer which cannot tell the bytes of its tokens."""

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str: ...


class Detokenizer:
    """The text of one answer. What all pushes and `finish` return is, joined, the decoding of all ids pushed."""

    def __init__(self, tokenizer: Decodes, *, skip_special: bool = True) -> None:
        pieces = tokenizer.pieces if isinstance(tokenizer, Tokenizer) else None
        self._reader: _ByBytes | _ByText
        if isinstance(tokenizer, Tokenizer) and pieces is not None:
            self._reader = _ByBytes(tokenizer, pieces.leading, skip_special)
        else:
            self._reader = _ByText(tokenizer, skip_special)

    def push(self, ids: Iterable[int]) -> str:
        """The characters that are whole now."""
        return self._reader.push(ids)

    def finish(self) -> str:
        """What is left, a character cut short as U+FFFD."""
        return self._reader.finish()


class _ByBytes:
    """For tokens that stand for bytes."""

    def __init__(self, tokenizer: Tokenizer, leading: int, skip_special: bool) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._leading = leading

    def push(self, ids: Iterable[int]) -> str:
        pieces = self._tokenizer.spelt(ids, skip_special=self._skip_special)
        return self._without_leading(self._characters.decode(b"".join(pieces)))

    def finish(self) -> str:
        return self._without_leading(self._characters.decode(b"", final=True))

    def _without_leading(self, text: str) -> str:
        if not self._leading or not text:
            return text
        rest = drop_leading(text, self._leading)
        self._leading = 0 if rest else self._leading - len(text)
        return rest


class _ByText:
    """For tokens whose text depends on their neighbours: the last few are decoded again with each that comes."""

    def __init__(self, tokenizer: Decodes, skip_special: bool) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._ids: list[int] = []  # a token or more whose text is out, then those whose text is not
        self._settled = 0

    def push(self, ids: Iterable[int]) -> str:
        self._ids.extend(ids)
        fresh = self._fresh()
        if not fresh or fresh.endswith(REPLACEMENT):
            return ""
        self._ids, self._settled = self._ids[self._settled :], len(self._ids) - self._settled
        return fresh

    def finish(self) -> str:
        fresh, self._ids, self._settled = self._fresh(), [], 0
        return fresh

    def _fresh(self) -> str:
        said = self._decode(self._ids[: self._settled])
        return self._decode(self._ids)[len(said) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special=self._skip_special)

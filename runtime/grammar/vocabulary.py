"""A model's tokens as the grammar library knows them: the bytes of each, and which of them are no text.

There is one token more than the model has. It stands for the end of an answer: which of the model's own tokens end one
is each request's choice, and the library need not know.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from llguidance import LLTokenizer, TokenizerWrapper

from ..text.errors import TokenizerFault
from ..text.tokenizer import Tokenizer

MOST_KNOWN: Final = 1024  # texts
_END: Final = b"<|end of the answer|>"


class TokenBytes(TokenizerWrapper):
    """The tokens of `tokenizer`, filled up or cut to `size`, and the end after them."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """`tokenizer` must know the bytes of its tokens."""
        names, pieces = tokenizer.tokens, tokenizer.pieces
        assert pieces is not None
        steering = [token for token in sorted(tokenizer.steering) if token < size]
        table = [*pieces.of[:size], *[b""] * (size - len(pieces.of))]
        for token in steering:
            table[token] = names[token].encode()
        self.tokens: Sequence[bytes] = [*table, _END]
        self.special_token_ids: Sequence[int] = [*steering, size]
        self.bos_token_id, self.eos_token_id = None, size
        self.is_tokenizer_wrapper = True  # by which the library knows what it may ask of this
        self._tokenizer = tokenizer
        self._known: dict[bytes, list[int]] = {}  # the keys of a schema must follow again and again

    def __call__(self, text: str | bytes) -> list[int]:
        """How `text` is cut that must follow in the midst of an answer: as the model saw it cut in training, where its
        tokenizer puts nothing of its own around it; else into as few tokens as will do, more or less.
        """
        wanted = text.encode() if isinstance(text, str) else text
        if wanted not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[wanted] = self._cut(wanted)
        return self._known[wanted]

    def _cut(self, wanted: bytes) -> list[int]:
        try:
            ids = self._tokenizer.encode(wanted.decode(), bos=False)
        except (TokenizerFault, UnicodeDecodeError):
            return self._longest_first(wanted)
        spelt = b"".join(self.tokens[token] for token in ids if token < self.eos_token_id)
        return ids if spelt == wanted else self._longest_first(wanted)

    @cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        steering = set(self.special_token_ids)
        return {data: token for token, data in enumerate(self.tokens) if data and token not in steering}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_bytes))

    def _longest_first(self, wanted: bytes) -> list[int]:
        ids: list[int] = []
        start = 0
        while start < len(wanted):
            stops = range(min(start + self._longest, len(wanted)), start, -1)
            stop = next((stop for stop in stops if wanted[start:stop] in self._by_bytes), None)
            if stop is None:  # this model cannot write it
                return ids
            ids.append(self._by_bytes[wanted[start:stop]])
            start = stop
        return ids


def library_tokens(tokenizer: Tokenizer, size: int) -> LLTokenizer:
    """Takes a moment: a tree of all tokens is made."""
    return LLTokenizer(TokenBytes(tokenizer, size))

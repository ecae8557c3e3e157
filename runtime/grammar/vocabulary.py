"""A model's tokens as the grammar library knows them: the bytes of each, and which of them are no text.

There is one token more than the model has. It stands for the end of an answer: which of the model's own tokens end one
is each request's choice, and the library need not know.
"""

from collections.abc import Sequence
from typing import Final

from llguidance import LLTokenizer, TokenizerWrapper

from ..text.tokenizer import Tokenizer

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
        self._table = table

    def __call__(self, text: str | bytes) -> list[int]:
        """How the tokenizer would cut `text` in the midst of an answer; nothing where it would add to it."""
        plain = text.decode(errors="replace") if isinstance(text, bytes) else text
        ids = self._tokenizer.encode(plain, bos=False)
        spelt = b"".join(self._table[token] for token in ids if token < len(self._table))
        return ids if spelt == plain.encode() else []


def library_tokens(tokenizer: Tokenizer, size: int) -> LLTokenizer:
    """Takes a moment: a tree of all tokens is made."""
    return LLTokenizer(TokenBytes(tokenizer, size))

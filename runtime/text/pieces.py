"""What each token stands for, as bytes: text is the bytes of its tokens, one behind the other, and nothing else.

Tokens may end inside a character, so bytes are the unit here; whole characters are made by the detokenizer. Two ways of
writing bytes as tokens are known: GPT-2's, a letter a byte, and SentencePiece's, text with `▁` for a space and
`<0x0A>` for a byte that no other token holds.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

SPACE_MARK = "▁"

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NOT_A_LETTER = "\uffff"


@dataclass(frozen=True, slots=True)
class Pieces:
    """The bytes of each id. `leading` spaces at the very start of a text were put there by encoding and are dropped."""

    of: tuple[bytes, ...]
    leading: int = 0


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: the byte's own where it prints, else the next free ones from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}


def spelt_in_letters(tokens: Sequence[str], literal: Collection[int]) -> tuple[bytes, ...]:
    """Tokens written in GPT-2's letters; those whose ids are in `literal` are plain text."""
    table = dict.fromkeys(range(256), _NOT_A_LETTER)
    table |= {ord(letter): chr(byte) for byte, letter in byte_letters().items()}
    return tuple(
        text.encode() if token in literal else _bytes_of_letters(text, table) for token, text in enumerate(tokens)
    )


def _bytes_of_letters(text: str, table: dict[int, str]) -> bytes:
    try:
        return text.translate(table).encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()  # not in letters at all: a token that was added as text


def spelt_with_marks(tokens: Sequence[str], literal: Collection[int]) -> tuple[bytes, ...]:
    """Tokens that are text with `▁` for a space, or one byte; those whose ids are in `literal` are never a byte."""
    return tuple(_bytes_of_marked(text, token in literal) for token, text in enumerate(tokens))


def _bytes_of_marked(text: str, literal: bool) -> bytes:
    byte = None if literal or not text.startswith("<0x") else _BYTE_TOKEN.fullmatch(text)
    return bytes.fromhex(byte[1]) if byte else text.replace(SPACE_MARK, " ").encode()

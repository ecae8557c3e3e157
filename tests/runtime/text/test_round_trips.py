"""TT-10, TT-12: any text comes back, and none of it becomes a token that steers."""

import random
from collections.abc import Callable, Iterator

import pytest

from unillm.runtime.text.tokenizer import Tokenizer, without_surrogates
from unillm.tests.runtime.text.tiny import (
    SPECIAL,
    byte_level_json,
    byte_level_keys,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
)

RANGES = [(0, 0x80), (0, 0x20), (0x80, 0x800), (0x300, 0x370), (0x4E00, 0x9FFF), (0xD800, 0xE000), (0x1F300, 0x1F700)]
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": lambda: from_keys(byte_level_keys(byte_level_json())),
    "SentencePiece": lambda: from_keys(sentencepiece_keys(sentencepiece_model())),
}


def texts(count: int) -> Iterator[str]:
    """Of all of Unicode, halves of characters included, and the names of special tokens among them."""
    chance = random.Random(12)
    for _ in range(count):
        low, high = chance.choice([*RANGES, (0, 0x110000)])
        letters = [chr(chance.randrange(low, high)) for _ in range(chance.randrange(24))]
        yield "".join(chance.choice([letter, letter, letter, chance.choice(SPECIAL)]) for letter in letters)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_texts_come_back_and_none_steers(kind: str) -> None:
    """Half a character comes back as U+FFFD, and SentencePiece's own mark for a space as a space."""
    tokenizer = KINDS[kind]()
    for text in texts(10_000):
        ids = tokenizer.encode(text, bos=False)
        expected = without_surrogates(text)
        if kind == "SentencePiece":
            expected = expected.replace("▁", " ")
        assert tokenizer.decode(ids) == expected
        assert not any(map(tokenizer.is_special, ids))

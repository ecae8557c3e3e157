"""Text as it comes, against the decoding of the whole."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, models, pre_tokenizers

from unillm.runtime.text.detokenizer import Detokenizer
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import (
    TRICKY,
    byte_level_json,
    byte_level_keys,
    folder,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
)


def byte_level() -> Tokenizer:
    return from_keys(byte_level_keys(byte_level_json()))


def sentencepiece_kind() -> Tokenizer:
    return from_keys(sentencepiece_keys(sentencepiece_model()))


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push([id_]) for id_ in ids), detokenizer.finish()]


@pytest.mark.parametrize("make", [byte_level, sentencepiece_kind])
def test_pushed_text_is_the_whole_text(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    for text in TRICKY:
        ids = tokenizer.encode(text)
        assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


@given(st.lists(st.integers(0, 300), max_size=60))
def test_any_ids_give_the_same_text_in_any_pieces(ids: list[int]) -> None:
    for tokenizer in (byte_level(), sentencepiece_kind()):
        detokenizer = Detokenizer(tokenizer)
        cut = random.Random(1).randint(0, len(ids))
        text = detokenizer.push(ids[:cut]) + detokenizer.push(ids[cut:]) + detokenizer.finish()
        assert text == tokenizer.decode(ids) == "".join(streamed(tokenizer, ids))


def test_a_character_comes_whole() -> None:
    tokenizer = sentencepiece_kind()
    ids = tokenizer.encode("x🐘", bos=False)
    assert streamed(tokenizer, ids)[-5:] == ["", "", "", "🐘", ""]


def test_a_character_cut_short_is_a_replacement_in_the_end() -> None:
    tokenizer = sentencepiece_kind()
    ids = tokenizer.encode("x🐘", bos=False)
    assert streamed(tokenizer, ids[:-1])[-4:] == ["", "", "", "\ufffd"]


def test_only_the_first_space_is_dropped_and_only_where_one_was_put() -> None:
    tokenizer = sentencepiece_kind()
    ids = tokenizer.encode("  two spaces", bos=False)
    assert "".join(streamed(tokenizer, ids)) == "  two spaces"
    assert "".join(streamed(byte_level(), byte_level().encode(" one space"))) == " one space"


def test_special_tokens_have_no_text() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("<|im_start|>a</s>", special=True)
    assert streamed(tokenizer, ids) == ["", "a", "", ""]


def test_a_decoder_that_is_no_sum_of_tokens_is_followed_too(tmp_path: Path) -> None:
    pipeline = Reference(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "is": 3, "fun": 4}, unk_token="[UNK]"))
    pipeline.pre_tokenizer = pre_tokenizers.Whitespace()
    pipeline.decoder = decoders.WordPiece()
    tokenizer = load_tokenizer(folder(tmp_path, str(pipeline.to_str())))
    assert tokenizer is not None
    assert tokenizer.pieces is None
    ids = tokenizer.encode("playing is fun")
    assert streamed(tokenizer, ids) == ["play", "ing", " is", " fun", ""]
    assert tokenizer.decode(ids) == pipeline.decode(ids)


def test_the_work_for_a_token_does_not_grow_with_the_text() -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("word " * 50_000)
    detokenizer = Detokenizer(tokenizer)
    assert sum(len(detokenizer.push([id_])) for id_ in ids) == 250_000

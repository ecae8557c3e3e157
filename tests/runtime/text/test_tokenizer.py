"""Text to ids and back, against the `tokenizers` package, `transformers` and SentencePiece."""

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from transformers import PreTrainedTokenizerFast

from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import (
    SPECIAL,
    TRICKY,
    byte_level_json,
    byte_level_keys,
    changed,
    folder,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
    with_bos,
)
from unillm.tests.support.hangs import HANGS


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    loaded = load_tokenizer(
        folder(tmp_path, byte_level_json(), tokenizer_config={"bos_token": "<s>", "eos_token": "</s>"})
    )
    assert loaded is not None
    return loaded


def plain(reference: Reference) -> Reference:
    reference.encode_special_tokens = True
    return reference


def test_ids_are_those_of_the_tokenizers_package(tokenizer: Tokenizer) -> None:
    reference = Reference.from_str(byte_level_json())
    for text in TRICKY:
        assert tokenizer.encode(text) == reference.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_names_are_tokens_only_where_they_are_meant(tokenizer: Tokenizer) -> None:
    reference = Reference.from_str(byte_level_json())
    text = "<s>a<|im_end|> <|im_<|im_end|>end|></s><tool_call>b"
    assert tokenizer.encode(text, special=True, bos=False) == reference.encode(text).ids
    assert tokenizer.encode(text) == plain(reference).encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_marker_of_a_conversation_is_text_too_though_no_file_calls_it_special(tokenizer: Tokenizer) -> None:
    marker = tokenizer.added_tokens["<|user|>"]
    assert not tokenizer.is_special(marker)
    assert marker not in tokenizer.encode("<|user|>")
    assert tokenizer.encode("<|user|>", special=True) == [marker]


def test_names_that_lie_over_each_other_are_all_text() -> None:
    keys = byte_level_keys(byte_level_json())
    tokens = [*keys["tokenizer.ggml.tokens"], "[ab]", "]ba["]  # type: ignore[misc]
    kinds = [*keys["tokenizer.ggml.token_type"], 3, 3]  # type: ignore[misc]
    tokenizer = from_keys(changed(keys, tokens=tokens, token_type=kinds))
    text = "[ab]ba[ab]]ba["
    ids = tokenizer.encode(text)
    assert not any(map(tokenizer.is_special, ids))
    assert tokenizer.decode(ids) == text


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json()))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text("<|im_endstar>/\ufdd0\ufdd1 ", max_size=40))
def test_text_never_makes_a_special_token(text: str) -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json()))
    ids = tokenizer.encode(text)
    assert not any(map(tokenizer.is_special, ids))
    assert tokenizer.decode(ids) == text


def test_half_a_character_is_read_as_a_replacement(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b\udfff")) == "a\ufffdb\ufffd"
    assert tokenizer.decode(tokenizer.encode("\ud83e\udd99")) == "🦙"


def test_bos_stands_in_front_once(tmp_path: Path) -> None:
    source = with_bos(byte_level_json())
    tokenizer = load_tokenizer(folder(tmp_path, source))
    assert tokenizer is not None
    reference = Reference.from_str(source)
    bos = tokenizer.bos_id
    assert tokenizer.encode("hello") == reference.encode("hello").ids
    assert tokenizer.encode("") == [bos]
    assert tokenizer.encode("hello", bos=False) == tokenizer.encode("hello")[1:]
    assert tokenizer.encode("<s>hello", special=True) == tokenizer.encode("hello")
    assert tokenizer.encode("<s>hello", special=True, bos=True) == tokenizer.encode("hello")


@pytest.mark.parametrize("source", [byte_level_json(), with_bos(byte_level_json())], ids=["without", "with"])
@pytest.mark.parametrize(
    "config",
    [{}, {"add_bos_token": True}, {"add_bos_token": False}, {"add_bos_token": True, "add_eos_token": True}],
    ids=["unsaid", "bos", "none", "both"],
)
def test_what_stands_around_a_prompt_is_what_transformers_puts_there(
    source: str, config: dict[str, bool], tmp_path: Path
) -> None:
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = load_tokenizer(folder(tmp_path, source, tokenizer_config={**names, **config}))
    reference = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert tokenizer is not None
    assert tokenizer.encode("hello there") == reference("hello there").input_ids


def test_a_bos_that_is_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder(tmp_path, byte_level_json()))
    assert tokenizer is not None
    with pytest.raises(TokenizerFault, match="no token that begins a text"):
        tokenizer.encode("hello", bos=True)


def test_a_folder_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert load_tokenizer(folder(tmp_path)) is None


def test_special_tokens_are_left_out_of_text_unless_wanted(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<s>hi<|im_end|>", special=True)
    assert tokenizer.decode(ids) == "hi"
    assert tokenizer.decode(ids, skip_special=False) == "<s>hi<|im_end|>"
    assert [tokenizer.token(id_) for id_ in (ids[0], ids[-1])] == ["<s>", "<|im_end|>"]


def test_an_id_that_is_no_token_has_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([10**6, -1, *tokenizer.encode("x")]) == "x"
    assert tokenizer.token(10**6) == ""


def test_a_gguf_gives_the_same_ids_as_the_tokenizer_json(tokenizer: Tokenizer) -> None:
    inside = from_keys(byte_level_keys(byte_level_json()))
    for text in TRICKY:
        assert inside.encode(text) == tokenizer.encode(text)
        assert inside.decode(inside.encode(text)) == text
    assert inside.special_tokens == tokenizer.special_tokens
    assert (inside.bos_id, inside.eos_ids) == (tokenizer.bos_id, tokenizer.eos_ids)


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("tidy", [True, False])
def test_a_gguf_gives_the_same_ids_as_sentencepiece(prefix: bool, tidy: bool) -> None:
    reference = sentencepiece_model(prefix=prefix, tidy=tidy)
    keys = changed(sentencepiece_keys(reference), add_space_prefix=prefix, remove_extra_whitespaces=tidy)
    tokenizer = from_keys(keys)
    for text in TRICKY:
        if "▁" in text or "\x00" in text:
            continue  # SentencePiece's own mark for a space, and the end of its strings, are not text to it
        ids = tokenizer.encode(text, bos=False)
        assert ids == reference.encode(text), text
        assert tokenizer.decode(ids) == reference.decode(ids)
    assert tokenizer.encode("x") == [reference.bos_id(), *reference.encode("x")]


def test_names_of_byte_and_control_tokens_are_text_to_sentencepieces_kind() -> None:
    tokenizer = from_keys(sentencepiece_keys(sentencepiece_model()))
    for text in ("<0x0A>", "<s>", "</s> <unk>"):
        ids = tokenizer.encode(text, bos=False)
        assert not any(map(tokenizer.is_special, ids))
        assert tokenizer.decode(ids) == text


LONG = {
    "one letter": "a",
    "spaces": " ",
    "emoji": "😀",
    "lines": "\n",
    "digits": "7",
    "names": "<|im_end|>",
    "nearly names": "<|im_en",
}


@pytest.mark.slow
@pytest.mark.parametrize("piece", LONG.values(), ids=LONG.keys())
def test_four_megabytes_are_cut_soon(tokenizer: Tokenizer, piece: str) -> None:
    text = piece * (4_000_000 // len(piece.encode())) + "x"
    start = time.process_time()
    ids = tokenizer.encode(text)
    assert time.process_time() - start < HANGS
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG.keys())
def test_the_time_for_a_text_grows_with_its_length_only(tokenizer: Tokenizer, piece: str) -> None:
    start = time.process_time()
    tokenizer.encode(piece * (200_000 // len(piece.encode())) + "x")
    assert time.process_time() - start < 5


def test_ids_do_not_depend_on_how_long_the_text_is(tokenizer: Tokenizer) -> None:
    random.seed(1)
    text = "".join(random.choices([*TRICKY, *SPECIAL], k=4000))
    assert tokenizer.encode(text, special=True) == Reference.from_str(byte_level_json()).encode(text).ids

"""SentencePiece's own files, against the sentencepiece package."""

import io
import struct
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from unillm.registry.files import ModelFiles
from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import TEXT, TRICKY, byte_level_json, folder

SPELT = {"byte_fallback": True, "remove_extra_whitespaces": False, "normalization_rule_name": "identity"}
VARIANTS: dict[str, dict[str, Any]] = {
    "as Llama's": {**SPELT, "vocab_size": 420},
    "without prefix": {**SPELT, "add_dummy_prefix": False, "vocab_size": 420},
    "as trained by default": {"vocab_size": 160},
    "rewritten, spelt": {"byte_fallback": True, "normalization_rule_name": "nfkc", "vocab_size": 420},
    "case folded": {"normalization_rule_name": "nmt_nfkc_cf", "vocab_size": 160, "add_dummy_prefix": False},
}
SHAPES = {
    f"{kind} {name}": {"model_type": kind, **options}
    for kind in ("bpe", "unigram")
    for name, options in VARIANTS.items()
}
# What a document holds, a line of War and Peace's kind, and text that no trainer has seen.
LINES = (
    *(line for text in TEXT for line in text.splitlines()),
    "Ｆｕｌｌ　ｗｉｄｔｈ ½ ﬁne Ⅷ ㎏ e\u0301a\u0308 ÀÉ",
    "\u00a0no\u200bbreak\u2028 line\tand\ttab  ",
    "zzzz qqqq Ж漢字🦙🦙 ☃☃",
)
NAMES = "<unk></s> <s> <0x41> <0xZZ>"


@cache
def trained(shape: str) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in TEXT for line in text.splitlines() if line.strip()] * 3),
        model_writer=written,
        hard_vocab_limit=False,
        minloglevel=2,
        **SHAPES[shape],
    )
    return written.getvalue()


def laid(path: Path, model: bytes, **others: Any) -> ModelFiles:
    """A folder with this `tokenizer.model` in it."""
    (path / "tokenizer.model").write_bytes(model)
    files = folder(path, **others)
    return ModelFiles(files.name, files.format, (), {**files.files, "tokenizer.model": path / "tokenizer.model"})


def loaded(files: ModelFiles) -> Tokenizer:
    tokenizer = load_tokenizer(files)
    assert tokenizer is not None
    return tokenizer


@pytest.mark.parametrize("shape", SHAPES)
def test_ids_are_those_of_sentencepiece(shape: str, tmp_path: Path) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_proto=trained(shape))
    ours = loaded(laid(tmp_path, trained(shape)))
    assert ours.vocab_size == theirs.get_piece_size()
    for text in (*LINES, *TRICKY):
        assert ours.encode(text, bos=False) == theirs.encode(text), text


@pytest.mark.parametrize("shape", SHAPES)
def test_names_of_symbols_in_text_are_what_sentencepiece_makes_of_them(shape: str, tmp_path: Path) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_proto=trained(shape))
    ours = loaded(laid(tmp_path, trained(shape)))
    # What is unknown on both sides of a cut through a name is unknown twice, not once: the one difference.
    found, right = ours.encode(NAMES, bos=False), theirs.encode(NAMES)
    assert [token for token, _ in groupby(found)] == [token for token, _ in groupby(right)]
    if theirs.unk_id() not in right or shape.startswith("bpe"):
        assert found == right


@pytest.mark.parametrize("shape", SHAPES)
def test_text_comes_back_as_sentencepiece_brings_it_back(shape: str, tmp_path: Path) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_proto=trained(shape))
    ours = loaded(laid(tmp_path, trained(shape)))
    for text in (*LINES, *TRICKY):
        ids = [token for token in theirs.encode(text) if not theirs.is_unknown(token)]
        assert ours.decode(ids) == theirs.decode(ids), text


def test_the_files_around_it_say_what_comes_around_a_prompt(tmp_path: Path) -> None:
    model = trained("bpe as Llama's")
    plain = loaded(laid(tmp_path, model))
    assert (plain.bos_id, plain.eos_ids, plain.encode("x")[0]) == (1, frozenset({2}), 1)
    config = {"add_bos_token": False, "add_eos_token": True, "eos_token": "<|end|>"}
    added = {"added_tokens_decoder": {str(plain.vocab_size): {"content": "<|end|>", "special": True}}}
    told = loaded(laid(tmp_path, model, tokenizer_config=config | added))
    assert told.vocab_size == plain.vocab_size + 1
    assert told.encode("x") == [*plain.encode("x")[1:], plain.vocab_size]
    assert told.encode("x<|end|>y", special=True, bos=False).count(plain.vocab_size) == 1


def test_control_symbols_in_text_are_text(tmp_path: Path) -> None:
    for shape in ("bpe as Llama's", "unigram as Llama's"):
        ours = loaded(laid(tmp_path, trained(shape)))
        assert not any(ours.is_special(token) for token in ours.encode("a</s>b<s>", bos=False))
        assert ours.decode(ours.encode("a</s>b<s>", bos=False)) == "a</s>b<s>"
        assert 2 in ours.encode("a</s>b", special=True, bos=False)


def test_a_tokenizer_json_goes_before(tmp_path: Path) -> None:
    files = folder(tmp_path, byte_level_json())
    (tmp_path / "tokenizer.model").write_bytes(b"no matter")
    files = ModelFiles("tiny", "safetensors", (), {**files.files, "tokenizer.model": tmp_path / "tokenizer.model"})
    assert "<|im_start|>" in loaded(files).added_tokens


def number(field: int, value: int) -> bytes:
    return bytes([*_varint(field << 3), *_varint(value)])


def held(field: int, value: bytes) -> bytes:
    return bytes([*_varint(field << 3 | 2), *_varint(len(value))]) + value


def _varint(value: int) -> list[int]:
    return [value] if value < 128 else [value & 127 | 128, *_varint(value >> 7)]


def piece(text: str, kind: int = 1, score: float = 0.0) -> bytes:
    return held(1, held(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind))


PIECES = piece("<unk>", 2) + piece("a") + piece("b")
CHARACTERS = (4).to_bytes(4, "little") + bytes(4)
HOSTILE = {
    "half of it": (trained("bpe as Llama's")[:-1000], "file: is"),
    "only tokens": (PIECES, "file: is cut short"),
    "a length past the end": (b"\x0a\xff\xff\xff\x7f", "a field of 268435455 bytes begins at byte 5 of 5"),
    "a number without end": (b"\x0a" + b"\xff" * 40, "the number at byte 1 does not end"),
    "a group": (PIECES + b"\x0b", "a field of kind 3"),
    "a name that is no text": (held(1, held(1, b"\xff\xfe")), "is not a SentencePiece model"),
    "a number for a message": (PIECES + number(2, 7), "7 stands where bytes belong"),
    "a score of two bytes": (held(1, held(1, b"a") + held(2, b"ab")), "a number of four bytes"),
    "nothing unknown": (piece("a") + piece("b"), "has not one token for what is unknown"),
    "a token twice": (PIECES + piece("a"), "has a token twice"),
    "a nameless token": (PIECES + piece(""), "is not 1 to 1024 letters"),
    "no score": (PIECES + piece("c", score=float("nan")), "has a score that is not a number"),
    "an unused token": (PIECES + piece("c", 5), "has a token of a kind that no model has"),
    "words": (PIECES + held(2, number(3, 3)), "model_type: is 3"),
    "bytes without tokens": (PIECES + held(2, number(35, 1)), "byte_fallback: is on"),
    "spaces behind": (PIECES + held(2, number(24, 1)), "treat_whitespace_as_suffix"),
    "spaces as they are": (PIECES + held(3, number(5, 0)), "escape_whitespaces"),
    "a letter that becomes a book": (
        PIECES + held(2, b"") + held(3, held(2, CHARACTERS + b"a" * 9999 + b"\0")),
        "makes 9999 bytes of one character",
    ),
    "a broken character map": (
        PIECES + held(2, b"") + held(3, held(2, b"\x08\0\0\0a")),
        "has a character map of 5 bytes",
    ),
}


@pytest.mark.parametrize(("model", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_broken_file_is_refused_by_name(model: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerFault, match=reason) as caught:
        loaded(laid(tmp_path, model)).encode("a b", bos=False)
    assert caught.value.file == str(tmp_path / "tokenizer.model")


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerFault, match=r"tokenizer\.model: file: is neither"):
        load_tokenizer(laid(tmp_path, b"version https://git-lfs.github.com/spec/v1"))

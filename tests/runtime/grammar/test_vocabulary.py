"""The grammar library knows each token by the bytes that it stands for, whatever file it came from."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unillm.runtime.grammar.compiler import Grammars
from unillm.runtime.grammar.forms import Form
from unillm.runtime.grammar.guide import Bits
from unillm.runtime.grammar.masks import spread_on_device
from unillm.runtime.grammar.vocabulary import TokenBytes, library_tokens
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.test_ranked_files import laid, llama, loaded, tekken
from unillm.tests.runtime.text.tiny import (
    byte_level_json,
    byte_level_keys,
    folder,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
    with_bos,
)

TEXTS = (
    "plain words",
    " a space in front, two  within, one behind ",
    '{"name": "Äpfel", "list": [1, 2.5, null], "said": "\\"你好\\" \\n 🦙"}',
    "\ttabs\r\nand lines\n\n",
    "<s> is text here, and so is <|im_start|> or <0x0A>",
)


def byte_level(path: Path) -> Tokenizer | None:
    return load_tokenizer(folder(path, byte_level_json()))


def byte_level_with_bos(path: Path) -> Tokenizer | None:
    return load_tokenizer(folder(path, with_bos(byte_level_json())))


def byte_level_gguf(_path: Path) -> Tokenizer | None:
    return from_keys(byte_level_keys(byte_level_json()))


def sentencepiece(_path: Path) -> Tokenizer | None:
    return from_keys(sentencepiece_keys(sentencepiece_model()))


def sentencepiece_without_prefix(_path: Path) -> Tokenizer | None:
    return from_keys(sentencepiece_keys(sentencepiece_model(prefix=False)))


def tekken_file(path: Path) -> Tokenizer | None:
    return loaded(laid(path, "tekken.json", tekken()))


SOURCES = [
    *(byte_level, byte_level_with_bos, byte_level_gguf),
    *(sentencepiece, sentencepiece_without_prefix, llama, tekken_file),
]


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    source: Callable[[Path], Tokenizer | None] = request.param
    made = source(tmp_path)
    assert made is not None
    return made


def allowed(bits: Bits) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist())


def test_every_token_has_its_bytes_and_steering_ones_are_no_text(tokenizer: Tokenizer) -> None:
    library = library_tokens(tokenizer, tokenizer.vocab_size)
    assert library.vocab_size == tokenizer.vocab_size + 1
    for token in range(tokenizer.vocab_size):
        if tokenizer.data(token) == b"\xff":  # the library's own mark of what is no text; no text has such a byte
            continue
        assert library.is_special_token(token) == (token in tokenizer.steering)
        if token not in tokenizer.steering:
            assert library.decode_bytes([token]) == tokenizer.data(token)


@pytest.mark.parametrize("text", TEXTS)
def test_what_must_follow_is_cut_into_tokens_that_spell_it(tokenizer: Tokenizer, text: str) -> None:
    cut = TokenBytes(tokenizer, tokenizer.vocab_size)
    for wanted in (text.encode(), text.encode()[1:-1], text.encode()[:-2]):
        ids = cut(wanted)
        assert b"".join(tokenizer.data(token) or b"" for token in ids) == wanted
        assert tokenizer.steering.isdisjoint(ids)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_can_be_said_token_by_token(tokenizer: Tokenizer, text: str) -> None:
    """Whether the tokenizer cuts it or the library does."""
    grammars = Grammars("the model", tokenizer, tokenizer.vocab_size)
    guide = grammars.guide(Form("choice", json.dumps([text, text + " more"])), [0])
    said = b""
    bits: Bits = np.zeros((1, guide.words), dtype=np.uint32)
    while said != text.encode():
        guide.fill(bits, [()])
        assert guide.failure is None
        token = min(allowed(bits))
        said += tokenizer.data(token) or b""
        assert text.encode().startswith(said)
        guide.saw(token)
    guide.fill(bits, [()])
    assert 0 in allowed(bits)


def test_a_vocabulary_may_be_larger_or_smaller_than_the_tokenizers(tokenizer: Tokenizer) -> None:
    for size in (tokenizer.vocab_size + 70, tokenizer.vocab_size - 9):
        guide = Grammars("the model", tokenizer, size).guide(Form("regex", "[ -~]{1,9}"), [1])
        bits: Bits = np.zeros((1, guide.words), dtype=np.uint32)
        guide.fill(bits, [()])
        assert allowed(bits) <= set(range(min(size, tokenizer.vocab_size)))


def test_bits_are_spread_on_a_device_as_numpy_spreads_them() -> None:
    packed = np.random.default_rng(3).integers(0, 256, (5, 40), dtype=np.uint8)
    expected = np.unpackbits(packed, axis=1, count=309, bitorder="little").astype(bool)
    assert spread_on_device(torch.from_numpy(packed), 309).numpy().tolist() == expected.tolist()

"""tiktoken's files and tekken.json, against the tiktoken package."""

import base64
import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from unillm.registry.files import ModelFiles
from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.pieces import spelt_in_letters
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import TRICKY, byte_level_json, folder

# The rules as the models' own packages write them.
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
MISTRAL = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = (*TRICKY, "we'll SEE 1234567 numbers, ThatCamelCase; x/y\n/z", "</s><|eot_id|><|im_end|>[INST]", "e\u0301" * 3)


@cache
def tokens() -> tuple[bytes, ...]:
    """A few hundred tokens in the order in which training made them."""
    vocabulary: dict[str, int] = json.loads(byte_level_json())["model"]["vocab"]
    named = sorted(vocabulary, key=vocabulary.__getitem__)[4:]
    return spelt_in_letters(named, ())


def theirs(pattern: str) -> tiktoken.Encoding:
    ranks = {token: rank for rank, token in enumerate(tokens())}
    return tiktoken.Encoding("tiny", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def ranks() -> bytes:
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens()))
    return "".join(lines).encode()


def laid(path: Path, name: str, content: bytes, **others: Any) -> ModelFiles:
    (path / name).write_bytes(content)
    files = folder(path, **others)
    return ModelFiles(files.name, files.format, (), {**files.files, name: path / name})


def loaded(files: ModelFiles) -> Tokenizer:
    tokenizer = load_tokenizer(files)
    assert tokenizer is not None
    return tokenizer


def llama(path: Path, content: bytes | None = None) -> Tokenizer:
    return loaded(
        laid(path, "tokenizer.model", ranks() if content is None else content, config={"model_type": "llama"})
    )


def tekken(**changes: Any) -> bytes:
    """A tekken.json of the tokens, with two more than its models know."""
    entries = [{"rank": rank, "token_bytes": base64.b64encode(t).decode()} for rank, t in enumerate(tokens())]
    spare = [{"rank": len(entries) + n, "token_bytes": base64.b64encode(b"spare%d" % n).decode()} for n in range(2)]
    config = {"pattern": MISTRAL, "default_vocab_size": len(entries) + 30, "default_num_special_tokens": 30}
    content: Mapping[str, Any] = {"config": config | changes.pop("config", {}), "vocab": entries + spare, **changes}
    return json.dumps(content).encode()


def test_ids_of_llama_3_are_those_of_tiktoken(tmp_path: Path) -> None:
    ours, right = llama(tmp_path), theirs(LLAMA)
    assert ours.vocab_size == len(tokens()) + 256
    for text in TEXTS:
        assert ours.encode(text, bos=False) == right.encode_ordinary(text), text
        assert ours.decode(ours.encode(text)) == text


def test_special_tokens_of_llama_3_are_where_its_models_have_them(tmp_path: Path) -> None:
    ours, first = llama(tmp_path), len(tokens())
    assert ours.bos_id == first
    assert ours.eos_ids == {first + 1, first + 8, first + 9}
    names = ["<|start_header_id|>", "<|python_tag|>", "<|image|>", "<|reserved_special_token_245|>"]
    assert ours.encode("".join(names), special=True, bos=False) == [first + 6, first + 10, first + 11, first + 255]
    assert ours.encode("x")[0] == first


def test_ids_of_qwen_are_those_of_tiktoken(tmp_path: Path) -> None:
    ours, right = loaded(laid(tmp_path, "qwen.tiktoken", ranks())), theirs(QWEN)
    for text in TEXTS:
        composed = unicodedata.normalize("NFC", text)  # as Qwen's own tokenizer does before it asks tiktoken
        assert ours.encode(text) == right.encode_ordinary(composed), text
        assert ours.decode(ours.encode(text)) == composed
    assert ours.bos_id is None
    assert ours.eos_ids == {len(tokens()), len(tokens()) + 2}


def test_ids_of_tekken_are_those_of_tiktoken_behind_the_special_tokens(tmp_path: Path) -> None:
    ours, right = loaded(laid(tmp_path, "tekken.json", tekken())), theirs(MISTRAL)
    assert ours.vocab_size == len(tokens()) + 30
    assert ours.encode("<s>[INST]<SPECIAL_29>", special=True) == [1, 3, 29]
    for text in TEXTS:
        assert ours.encode(text) == [1, *(token + 30 for token in right.encode_ordinary(text))], text
        assert ours.decode(ours.encode(text)) == text


def test_a_tekken_file_names_its_special_tokens(tmp_path: Path) -> None:
    listed = [{"rank": n, "token_str": name} for n, name in enumerate(["<unk>", "<s>", "</s>", "[THINK]"])]
    ours = loaded(laid(tmp_path, "tekken.json", tekken(special_tokens=listed)))
    assert ours.encode("[THINK]<SPECIAL_4>", special=True, bos=False) == [3, 4]
    assert (ours.bos_id, ours.eos_ids) == (1, frozenset({2}))


LINES = ranks().splitlines(keepends=True)
BROKEN_RANKS = {
    "a line of three": (ranks() + b"YQ== 1 2\n", r"line \d+: is not a token"),
    "no base64": (LINES[0] + b"!!! 7\n", "line 2: is not a token"),
    "no rank": (LINES[0] + b"YQ== x\n", "line 2: is not a token"),
    "a rank twice": (ranks() + b"YWJjZGVmZ2g= 0\n", "its rank was there before"),
    "a rank left out": (ranks() + b"YWJjZGVmZ2g= 99999\n", "ranks: are not 0 to"),
    "a token twice": (ranks() + b"YQ== %d\n" % len(tokens()), "tokens: has one twice"),
    "too few": (b"".join(LINES[:100]), "tokens: are 100"),
    "a special token of text": (ranks() + base64.b64encode(b"<|eot_id|>") + b" %d\n" % len(tokens()), "as well"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_RANKS.values(), ids=BROKEN_RANKS.keys())
def test_a_broken_list_of_ranks_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerFault, match=reason):
        llama(tmp_path, content)


@pytest.mark.parametrize("config", [None, {"model_type": "deepseek_v9"}])
def test_a_family_without_a_known_rule_is_refused(config: dict[str, str] | None, tmp_path: Path) -> None:
    others = {} if config is None else {"config": config}
    with pytest.raises(TokenizerFault, match="a family that unillm has no rule for words for"):
        load_tokenizer(laid(tmp_path, "tokenizer.model", ranks(), **others))


BROKEN_TEKKEN: dict[str, tuple[bytes, str]] = {
    "no pattern": (tekken(config={"pattern": None}), "config.pattern: is missing"),
    "a pattern without end": (tekken(config={"pattern": "a{99999}"}), "config.pattern: has a pattern that repeats"),
    "no size": (tekken(config={"default_vocab_size": "x"}), "config.default_vocab_size"),
    "more than there are": (tekken(config={"default_vocab_size": 99999}), "vocab: is not a list of the"),
    "no tokens": (tekken(vocab={}), "vocab: is not a list"),
    "tokens out of order": (tekken(vocab=[{"rank": 1, "token_bytes": "YQ=="}] * 9999), "entry 0 is not a token"),
    "too many special": (tekken(config={"default_num_special_tokens": 3}), "special_tokens: are more than the 3"),
    "a special without rank": (tekken(special_tokens=[{"token_str": "<s>"}]), "is not a rank and a name"),
    "special are text": (tekken(special_tokens="x"), "is not a rank and a name"),
    "a special twice": (tekken(special_tokens=[{"rank": 0, "token_str": "<SPECIAL_1>"}]), "has a name twice"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_TEKKEN.values(), ids=BROKEN_TEKKEN.keys())
def test_a_broken_tekken_file_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerFault, match=reason):
        load_tokenizer(laid(tmp_path, "tekken.json", content))

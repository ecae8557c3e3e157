"""tokenizer.json files made to hang, to crash or to eat a machine's memory, each built from one that works."""

import base64
import json
from collections.abc import Iterator
from typing import Any

JSONObject = dict[str, Any]

LONG_WORD = "a" * 1_000_000


def hostile_tokenizers(plain: str) -> Iterator[tuple[str, str]]:
    """A name and a file for each attack, made of the working file `plain`."""
    for name, changes in _sections():
        yield name, json.dumps(json.loads(plain) | changes)
    for name, changes in _models(json.loads(plain)["model"]):
        yield name, json.dumps(json.loads(plain) | {"model": json.loads(plain)["model"] | changes})
    for name, changes in _other_models():
        yield name, json.dumps(json.loads(plain) | {"model": changes, "added_tokens": []})
    added = json.loads(plain)["added_tokens"]
    for name, tokens in _added(len(json.loads(plain)["model"]["vocab"]) + len(added)):
        yield name, json.dumps(json.loads(plain) | {"added_tokens": added + tokens})


def _sections() -> Iterator[tuple[str, JSONObject]]:
    grow = _sequence("normalizers", [_replace("a" * 100)] * 6)
    yield "a chain of replacements", {"normalizer": grow}
    yield "replacements within sequences", {"normalizer": _sequence("normalizers", [grow])}
    yield "replacements of nothing", {"normalizer": _sequence("normalizers", [_replace("aa", "")] * 40)}
    yield "replacements by a pattern", {"normalizer": _sequence("normalizers", [_replace("xx", regex="[\\s\\S]")] * 30)}
    yield "a prefix of a megabyte", {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}}
    yield "a decoder that grows", {"decoder": _sequence("decoders", [_replace("a" * 1000)] * 4)}
    yield "ten thousand steps", {"pre_tokenizer": _sequence("pretokenizers", [_split("a")] * 10_000)}
    yield "a thousand normal forms", {"normalizer": _sequence("normalizers", [{"type": "NFKD"}] * 1000)}
    yield "steps within steps", {"pre_tokenizer": _nested(2000)}
    for name, pattern in _PATTERNS.items():
        yield f"a pattern: {name}", {"pre_tokenizer": _split(pattern)}
    yield "a pattern in a normalizer", {"normalizer": _replace("b", regex="(a|a)*$")}
    yield "padding to a thousand million", {"padding": _padding({"Fixed": 10**9}, None)}
    yield "padding to a multiple of a thousand million", {"padding": _padding("BatchLongest", 10**9)}
    yield "truncation to nothing", {"truncation": _truncation(0, 0)}
    yield "truncation that moves on by nothing", {"truncation": _truncation(2, 2)}
    for name, characters in _CHARACTER_MAPS.items():
        yield f"a character map: {name}", {"normalizer": _characters(characters)}
    yield "a template of strangers", {"post_processor": _template("<nobody>", 1)}
    yield "a template without end", {"post_processor": _template("<s>", 100_000)}


def _models(plain: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    yield "an id of four thousand million", {"vocab": plain["vocab"] | {"zz": 2**32 - 1}}
    yield "a negative id", {"vocab": plain["vocab"] | {"zz": -1}}
    yield "merges that make nothing known", {"merges": [["zzz", "q"]]}
    yield "a prefix of words without end", {"continuing_subword_prefix": "x" * 1_000_000}
    yield "a token of a megabyte", {"vocab": plain["vocab"] | {LONG_WORD: len(plain["vocab"])}}
    yield "an unknown token that is unknown", {"unk_token": "<nobody>", "vocab": {"q": 0}, "merges": []}


def _other_models() -> Iterator[tuple[str, JSONObject]]:
    word = {"type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##"}
    pieces = {"a" * n: n for n in range(1, 300)} | {"##" + "a" * n: 300 + n for n in range(1, 300)} | {"u": 0}
    yield "words of any length", word | {"max_input_chars_per_word": 10**9, "vocab": pieces}
    yield "an unknown that is no token", word | {"max_input_chars_per_word": 100, "vocab": {"q": 0}}
    runs = [["u", 0.0], *([["a" * n, -1.0] for n in range(1, 3000)])]
    yield "runs of every length", {"type": "Unigram", "unk_id": 0, "vocab": runs}
    yield "an unknown beyond the end", {"type": "Unigram", "unk_id": 10**9, "vocab": [["a", 0.0]]}
    yield "scores without end", {"type": "Unigram", "unk_id": 0, "vocab": [["u", 1e308], ["a", 1e308], ["aa", -1e308]]}
    yield "a vocabulary of nothing", {"type": "Unigram", "unk_id": None, "vocab": []}


def _added(free: int) -> Iterator[tuple[str, list[JSONObject]]]:
    yield "names made to be slow to find", [_token("a" * n + "b", free + n) for n in range(2000)]
    yield "a name of a megabyte", [_token("n" * 1_000_000, free)]
    yield "a name of nothing", [_token("", free)]


_PATTERNS = {
    "a repeat in a repeat": "(a+)+$",
    "choices that overlap": "(a|a|aa)+$",
    "a reference back": "(a*)*\\1b",
    "looking behind": "(?<=a*)b",
    "counts in counts": "(?:(?:(?:a{1000}){1000}){1000}){1000}",
    "a count too high": "a{100000}",
    "calls of itself": "(?<x>a\\g<x>*)*",
    "parentheses": "(" * 3000 + ")" * 3000,
    "none at all": "(",
    "many choices": "|".join(f"a{{0,{n}}}b" for n in range(500)),
}
_CHARACTER_MAPS = {
    "nothing": b"",
    "three bytes": b"AAA",
    "a size beyond its end": (2**31).to_bytes(4, "little") + b"\0" * 64,
    "noise": (1024).to_bytes(4, "little") + bytes(range(256)) * 4 + b"ab\0" * 400,
    "one that grows": (4).to_bytes(4, "little") + b"\0" * 4 + b"x" * 500_000,
}


def _sequence(kind: str, steps: list[JSONObject]) -> JSONObject:
    return {"type": "Sequence", kind: steps}


def _replace(content: str, pattern: str = "a", regex: str | None = None) -> JSONObject:
    found = {"String": pattern} if regex is None else {"Regex": regex}
    return {"type": "Replace", "pattern": found, "content": content}


def _split(pattern: str) -> JSONObject:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _nested(depth: int) -> JSONObject:
    step = _split("a")
    for _ in range(depth // 25):  # deeper than the package goes, not deeper than Python's own JSON does
        step = _sequence("pretokenizers", [step])
    return step


def _characters(message: bytes) -> JSONObject:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(message).decode()}


def _padding(strategy: object, multiple: int | None) -> JSONObject:
    return {
        "strategy": strategy,
        "direction": "Right",
        "pad_to_multiple_of": multiple,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<s>",
    }


def _truncation(length: int, stride: int) -> JSONObject:
    return {"max_length": length, "strategy": "LongestFirst", "stride": stride, "direction": "Right"}


def _template(name: str, times: int) -> JSONObject:
    around = {"SpecialToken": {"id": name, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [around] * times + [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {name: {"id": name, "ids": [0], "tokens": [name]}},
    }


def _token(name: str, id_: int) -> JSONObject:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": name, "id": id_, "special": True, **flags}

"""A tokenizer as GGUF's keys: byte pairs behind a named rule for words, or SentencePiece's merges by score.

GGUF names the rule for words but does not hold it. Which name is right is found out by trying: the keys are read again
as any GGUF's are, and must give the ids that the tokenizer itself gives for a text of many scripts. A tokenizer for
which no name does is refused: the file would load and its model would answer nonsense.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...registry.files import ModelFiles
from ..errors import NotWritable
from ..text.bare_vocabulary import read_bare_vocabulary
from ..text.gguf_vocabulary import ROLES, read_vocabulary
from ..text.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from ..text.splits import SPLITS
from ..text.tokenizer_file import read_tokenizer_file
from ..text.vocabulary import Vocabulary
from .gguf_file import Value

_PROBE: Final = (
    "Hello World, I'm here!  DON'T you'll see 3 33 333 3333 33333 333333.5%\n\n \n\t\t x=[1,2];\r\n  ``` __init__() "
    "élan naïve Straße ÅÄÖ ça — «quoted» … €100 ½ ² Ünïcödé\u00a0nbsp 天気がいい 你好，世界。한국어 텍스트 "
    "Привет, мир! नमस्ते สวัสดี العربية עברית 🚀🦙 👨‍👩‍👧 ''' \"\"\" ??!! --- /usr/bin/env C++ "
    "a_b-c.d@e.f CamelCaseWORDS 0x1F"
)
# What models of this day use, before all others.
_FIRST: Final = ("llama-bpe", "qwen2", "smollm", "gpt-2", "tekken", "gpt-4o")


def vocabulary_keys(files: ModelFiles, size: int, template: str | None) -> dict[str, Value]:
    """`tokenizer.*` for a table of `size` rows. Raises `NotWritable` where GGUF cannot say it."""
    found = _read(files)
    if found is None:
        return {"tokenizer.ggml.model": Value("no_vocab", "STRING")}
    keys = _agreeing(found, size, files.name)
    if template is not None:
        keys["tokenizer.chat_template"] = Value(template, "STRING")
    return keys


def _read(files: ModelFiles) -> Vocabulary | None:
    return read_tokenizer_file(files) if "tokenizer.json" in files.files else read_bare_vocabulary(files)


def _agreeing(found: Vocabulary, size: int, name: str) -> dict[str, Value]:
    """The first spelling whose ids are the tokenizer's own."""
    wanted = _cut(found)
    for keys in _spellings(found, size, name):
        again = read_vocabulary({key: one.value for key, one in keys.items()}, name)
        if again is not None and _cut(again) == wanted:
            return keys
    raise NotWritable(name, "its way to cut text into words is none that GGUF has a name for")


def _cut(vocabulary: Vocabulary) -> tuple[list[int], list[str] | None]:
    """The probe's ids; and its words, where there are any before merging: a small vocabulary hides where they end."""
    pipeline = vocabulary.pipeline
    ids = [*vocabulary.before, *pipeline.encode(_PROBE, add_special_tokens=False).ids, *vocabulary.after]
    if json.loads(pipeline.to_str())["model"].get("byte_fallback"):
        return ids, None
    return ids, [word for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(_PROBE)]


def _spellings(found: Vocabulary, size: int, name: str) -> Iterator[dict[str, Value]]:
    model = _model(found, name)
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    common = _common(found, size)
    if not model.get("byte_fallback"):
        common |= {"model": Value("gpt2", "STRING"), "merges": Value(merges, "STRING")}
        for rule in dict.fromkeys((*_FIRST, *SPLITS)):
            if rule in SPLITS and not SPLITS[rule].raw:
                yield _named(common | {"pre": Value(rule, "STRING")})
        return
    scores = _scores(found.tokens, merges, size)
    common |= {"model": Value("llama", "STRING"), "pre": Value("default", "STRING")}
    common |= {"scores": Value(scores, "FLOAT32")}
    for prefix in (True, False):
        yield _named(common | {"add_space_prefix": Value(prefix, "BOOL")})


def _model(found: Vocabulary, name: str) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(found.pipeline.to_str())["model"]
    if model.get("type") != "BPE":
        raise NotWritable(name, f"its tokenizer is of the kind {model.get('type')}, and only byte pairs are written")
    if not model["merges"]:
        raise NotWritable(name, "its tokenizer merges nothing, and GGUF holds no empty list")
    return model


def _named(keys: dict[str, Value]) -> dict[str, Value]:
    return {f"tokenizer.ggml.{name}": one for name, one in keys.items()}


def _common(found: Vocabulary, size: int) -> dict[str, Value]:
    tokens = [text or f"[PAD{token}]" for token, text in enumerate(found.tokens)]
    tokens += [f"[PAD{token}]" for token in range(len(tokens), size)]
    kinds = [_kind(found, token) for token in range(len(tokens))]
    keys = {"tokens": Value(tokens, "STRING"), "token_type": Value(kinds, "INT32")}
    ids = {text: token for token, text in enumerate(found.tokens)}
    for role, word in ROLES.items():
        if (text := found.roles.get(role)) in ids and text is not None:
            keys[f"{word}_token_id"] = Value(ids[text], "UINT32")
    if found.bos_id is not None:
        keys["bos_token_id"] = Value(found.bos_id, "UINT32")
    named = {one.value for name, one in keys.items() if name == "eos_token_id"}
    for word, token in zip(("eot", "eom"), sorted(found.eos_ids - named), strict=False):
        keys[f"{word}_token_id"] = Value(token, "UINT32")
    keys["add_bos_token"] = Value(found.before == (found.bos_id,) and bool(found.before), "BOOL")
    keys["add_eos_token"] = Value(bool(found.after), "BOOL")
    return keys


def _kind(found: Vocabulary, token: int) -> int:
    text = found.tokens[token] if token < len(found.tokens) else ""
    if not text:
        return UNUSED
    if token in found.special:
        return UNKNOWN if text == found.roles.get("unk_token") else CONTROL
    if text in found.added:
        return USER_DEFINED
    return BYTE if len(text) == 6 and text.startswith("<0x") and text.endswith(">") else NORMAL


def _scores(tokens: Sequence[str], merges: Sequence[str], size: int) -> list[float]:
    """The earlier a token is made by merging, the better its score."""
    made = {merge.replace(" ", "", 1): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
    worst = -float(len(merges))
    return [made.get(text, worst) for text in tokens] + [worst] * (size - len(tokens))

"""What a tokenizer.json must be before the `tokenizers` package sees it.

The package trusts its files: a chain of replacements may grow a word by a factor of a hundred each, a pattern may take
for ever, and running out of memory there ends the whole process. Each limit here lies far above what any published
tokenizer has. Knows JSON only.
"""

import re
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

from .errors import TokenizerFault

JSONObject: TypeAlias = Mapping[str, Any]

MAX_FILE = 48_000_000  # bytes; a vocabulary of 262k tokens takes 33 MB
MAX_STEPS = 64  # normalizers, or pre-tokenizers, of one tokenizer
MAX_GROWTH = 16  # how much longer all replacements together may make a text
MAX_PATTERN = 8_192  # letters of one pattern
MAX_REPEAT = 1_024  # the n of x{n} in a pattern
MAX_CHARACTER_MAP = 4_000_000  # bytes of a precompiled character map
MAX_REWRITING = 64  # bytes that it may make of one character; the longest that is published has 33
MAX_WORD = 1_024  # letters of a word that WordPiece tries every part of
MAX_RUN = 256  # letters of a token that the unigram model looks for at every place
MAX_CUTS = 1 << 28  # letters times letters of all tokens whose every cut in two is looked at
MAX_ADDED = 262_144  # added tokens
MAX_NAME = 1_024  # letters of an added token
MAX_AROUND = 64  # tokens that a post-processor puts around a text
MAX_ID = 16_777_216

_REPEAT = re.compile(r"\{(\d*)(?:,(\d*))?\}")


def check(found: JSONObject, source: str) -> None:
    """Raise a fault for a file that would cost more than it may."""
    for section in ("normalizer", "pre_tokenizer", "decoder", "post_processor"):
        steps = list(_steps(found.get(section)))
        if len(steps) > MAX_STEPS:
            raise TokenizerFault(source, section, f"has {len(steps)} steps, more than {MAX_STEPS}")
        for step in steps:
            _check_step(step, section, source)
        growth = _growth(steps)
        if growth > MAX_GROWTH:
            raise TokenizerFault(source, section, f"may make text {growth} times as long; {MAX_GROWTH} is the most")
    _check_added(found.get("added_tokens"), source)
    _check_model(found.get("model"), source)


def _steps(node: object) -> Iterator[JSONObject]:
    """Every step of a section, those inside sequences too."""
    waiting = [node]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            for value in step.values():
                waiting.extend(value if isinstance(value, list) else [value] if isinstance(value, dict) else [])


def _check_step(step: JSONObject, section: str, source: str) -> None:
    pattern = step.get("Regex")
    if isinstance(pattern, str):
        check_pattern(pattern, section, source)
    characters = step.get("precompiled_charsmap")
    if isinstance(characters, str):
        _check_encoded(characters, section, source)


def check_pattern(pattern: str, section: str, source: str) -> None:
    if len(pattern) > MAX_PATTERN:
        raise TokenizerFault(source, section, f"has a pattern of {len(pattern)} letters, more than {MAX_PATTERN}")
    counts = [int(count) for found in _REPEAT.finditer(pattern) for count in found.groups() if count]
    if max(counts, default=0) > MAX_REPEAT:
        raise TokenizerFault(source, section, f"has a pattern that repeats {max(counts)} times, more than {MAX_REPEAT}")


def check_character_map(characters: bytes, section: str, source: str) -> None:
    """A character map is a table's size, the table, and the texts that it points into, each ended by a zero."""
    size = int.from_bytes(characters[:4], "little")
    if len(characters) > MAX_CHARACTER_MAP or size % 4 or not 4 < 4 + size <= len(characters):
        raise TokenizerFault(source, section, f"has a character map of {len(characters)} bytes, its table {size}")
    longest = max(map(len, characters[4 + size :].split(b"\0")))
    if longest > MAX_REWRITING:
        raise TokenizerFault(source, section, f"makes {longest} bytes of one character; {MAX_REWRITING} is the most")


def check_cuts(tokens: Collection[str] | Collection[bytes], section: str, source: str) -> None:
    """Of tokens that merges are sought for: there is one for every way to cut a token in two that are tokens."""
    if any(len(token) > MAX_NAME for token in tokens):
        raise TokenizerFault(source, section, f"has a token of more than {MAX_NAME} letters")
    if sum(len(token) ** 2 for token in tokens) > MAX_CUTS:
        raise TokenizerFault(source, section, "has too many tokens that are too long")


def _check_encoded(characters: str, section: str, source: str) -> None:
    if len(characters) > 2 * MAX_CHARACTER_MAP:
        raise TokenizerFault(source, section, f"has a character map of {len(characters)} letters")
    try:
        decoded = b64decode(characters, validate=True)
    except ValueError as error:
        raise TokenizerFault(source, section, f"has a character map that is not base64: {error}") from error
    check_character_map(decoded, section, source)


def _growth(steps: list[JSONObject]) -> int:
    growth = 1
    for step in steps:
        content = step.get("content") if step.get("type") == "Replace" else step.get("prepend")
        if isinstance(content, str):
            growth *= max(len(content), 1)
    return growth


def _check_added(added: object, source: str) -> None:
    if added is None:
        return
    if not isinstance(added, list) or len(added) > MAX_ADDED:
        raise TokenizerFault(source, "added_tokens", f"is not a list of at most {MAX_ADDED}")
    for token in added:
        name = token.get("content") if isinstance(token, dict) else None
        if not isinstance(name, str) or not name or len(name) > MAX_NAME:
            raise TokenizerFault(source, "added_tokens", f"has an entry whose content is not 1 to {MAX_NAME} letters")
        if type(token.get("id")) is not int or not 0 <= token["id"] < MAX_ID:
            raise TokenizerFault(source, "added_tokens", f"{name!r} has no id from 0 to {MAX_ID}")


def _check_model(model: object, source: str) -> None:
    if not isinstance(model, dict):
        raise TokenizerFault(source, "model", "is missing")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict | list):
        raise TokenizerFault(source, "model.vocab", "is missing")
    word = model.get("max_input_chars_per_word", 0)
    if type(word) is not int or not 0 <= word <= MAX_WORD:
        raise TokenizerFault(source, "model.max_input_chars_per_word", f"is {word!r}, not 0 to {MAX_WORD}")
    if isinstance(vocabulary, list):
        _check_runs(vocabulary, source)
    ids = vocabulary.values() if isinstance(vocabulary, dict) else ()
    if not all(type(id_) is int and 0 <= id_ < MAX_ID for id_ in ids):
        raise TokenizerFault(source, "model.vocab", f"has an entry whose id is not from 0 to {MAX_ID}")
    if isinstance(vocabulary, dict) and len(set(ids)) != len(vocabulary):
        raise TokenizerFault(source, "model.vocab", "gives one id to two tokens")


def _check_runs(vocabulary: list[Any], source: str) -> None:
    """Of the unigram model, which has its tokens in a list, with their scores."""
    tokens = [entry[0] if isinstance(entry, list) and entry else None for entry in vocabulary]
    if not all(isinstance(token, str) and len(token) <= MAX_RUN for token in tokens):
        raise TokenizerFault(source, "model.vocab", f"has an entry that is not a token of at most {MAX_RUN} letters")

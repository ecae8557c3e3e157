"""tekken.json, Mistral's byte pairs: ranks with their rule for words, and the special tokens before them.

Older files leave the special tokens out; those of that time stand here, as they stood in Mistral's own package then.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .errors import TokenizerFault
from .gathering import gather
from .panics import guarded
from .pieces import spelt_in_letters
from .ranks import MAX_TOKENS, add_special, ranked_pipeline
from .tokenizer_checks import MAX_FILE, MAX_NAME, check_pattern
from .vocabulary import Vocabulary

NAME = "tekken.json"

UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def read_tekken(files: ModelFiles) -> Vocabulary:
    """The vocabulary of a folder that has a tekken.json."""
    path = files.files[NAME]
    source = str(path)
    found = read_json_object(path, MAX_FILE)
    config = found.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("pattern"), str):
        raise TokenizerFault(source, "config.pattern", "is missing")
    check_pattern(config["pattern"], "config.pattern", source)
    front = _number(config, "default_num_special_tokens", source)
    special = _special(found.get("special_tokens"), front, source)
    tokens = _tokens(found.get("vocab"), _number(config, "default_vocab_size", source) - front, source)
    ids = {name: number for number, name in enumerate(special)}
    pipeline = guarded(source, "file", lambda: ranked_pipeline(tokens, ids, config["pattern"], source))
    add_special(pipeline, special)
    return gather(files, source, pipeline, ROLES, spelt_in_letters)


def _number(config: Mapping[str, Any], key: str, source: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 0 <= value <= MAX_TOKENS:
        raise TokenizerFault(source, f"config.{key}", f"is {value!r}, not 0 to {MAX_TOKENS}")
    return value


def _special(listed: object, count: int, source: str) -> list[str]:
    """The names of the first `count` ids; those that no name is given for are numbered."""
    names = dict(enumerate(UNLISTED)) if listed is None else _listed(listed, source)
    if len(names) > count or not names.keys() <= set(range(count)):
        raise TokenizerFault(source, "special_tokens", f"are more than the {count} that there is room for")
    special = [names.get(number, f"<SPECIAL_{number}>") for number in range(count)]
    if len(set(special)) != count:
        raise TokenizerFault(source, "special_tokens", "has a name twice")
    return special


def _listed(listed: object, source: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for entry in listed if isinstance(listed, list) else [None]:
        rank, name = (entry.get("rank"), entry.get("token_str")) if isinstance(entry, dict) else (None, None)
        if type(rank) is not int or not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or rank in names:
            raise TokenizerFault(source, "special_tokens", f"{entry!r:.80} is not a rank and a name")
        names[rank] = name
    return names


def _tokens(listed: object, count: int, source: str) -> Sequence[bytes]:
    """The first `count` tokens; a file may list more than its models know."""
    if not isinstance(listed, list) or not 0 < count <= len(listed):
        raise TokenizerFault(source, "vocab", f"is not a list of the {count} tokens that config speaks of")
    tokens: list[bytes] = []
    for rank, entry in enumerate(listed[:count]):
        spelt = entry.get("token_bytes") if isinstance(entry, dict) and entry.get("rank") == rank else None
        try:
            tokens.append(base64.b64decode(spelt if isinstance(spelt, str) else "?", validate=True))
        except ValueError as error:
            raise TokenizerFault(source, "vocab", f"entry {rank} is not a token of rank {rank}") from error
    return tokens

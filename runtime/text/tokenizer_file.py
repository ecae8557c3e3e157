"""tokenizer.json, with what tokenizer_config.json and its neighbours add to it.

The pipeline is the `tokenizers` package's own; what is decided here is which tokens are special, which end an answer,
what goes around a prompt, and how tokens spell bytes. Knows no GGUF.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Pipeline

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .ends import stated_ends
from .errors import TokenizerFault
from .panics import guarded
from .surroundings import around
from .tokenizer_checks import MAX_FILE, MAX_ID, check
from .tokenizer_pieces import pieces_of
from .vocabulary import Vocabulary

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_tokenizer_file(files: ModelFiles) -> Vocabulary:
    """The vocabulary of a folder that has a tokenizer.json."""
    path = files.files["tokenizer.json"]
    source = str(path)
    found = read_json_object(path, MAX_FILE)
    check(found, source)
    config = TokenizerConfig.read(files)
    pipeline = _pipeline(path, found, config)
    tokens = _in_order(pipeline.get_vocab(with_added_tokens=True), source)
    ids = {text: token for token, text in enumerate(tokens) if text}
    added = {token.content: id_ for id_, token in pipeline.get_added_tokens_decoder().items()}
    special = {id_ for id_, token in pipeline.get_added_tokens_decoder().items() if token.special}
    roles = {role: text for role, text in config.roles.items() if text in ids}
    ends = {ids[roles["eos_token"]]} if "eos_token" in roles else set()
    before, after = around(found.get("post_processor"), ids, source)
    bos = roles.get("bos_token")
    return Vocabulary(
        source=source,
        pipeline=pipeline,
        tokens=tokens,
        pieces=pieces_of(found.get("decoder"), tokens, frozenset(added.values())),
        added=added,
        special=frozenset(special),
        roles=roles,
        bos_id=ids[bos] if bos is not None else before[0] if before else None,
        eos_ids=frozenset(ends | stated_ends(files)),
        before=before,
        after=after,
    )


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """What tokenizer_config.json and special_tokens_map.json say. `special` are names, `added` names by id."""

    roles: Mapping[str, str]
    special: frozenset[str]
    added: Mapping[int, AddedToken]

    @classmethod
    def read(cls, files: ModelFiles) -> "TokenizerConfig":
        found: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if name in files.files:
                found |= read_json_object(files.files[name])
        roles = {role: text for role in ROLES if (text := _content(found.get(role)))}
        others = (
            text for key in ("additional_special_tokens", "extra_special_tokens") for text in _names(found.get(key))
        )
        return cls(
            roles,
            frozenset([*roles.values(), *others]),
            _added(found.get("added_tokens_decoder")),
        )


def _content(token: object) -> str | None:
    """The text of a token, which stands as it is or as the `content` of an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _names(tokens: object) -> Iterator[str]:
    entries = tokens.values() if isinstance(tokens, dict) else tokens if isinstance(tokens, list) else ()
    return (text for entry in entries if (text := _content(entry)))


def _added(tokens: object) -> dict[int, AddedToken]:
    if not isinstance(tokens, dict):
        return {}
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        int(id_): AddedToken(text, **{flag: entry[flag] for flag in flags if isinstance(entry.get(flag), bool)})
        for id_, entry in tokens.items()
        if id_.isdecimal() and isinstance(entry, dict) and (text := _content(entry))
    }


def _pipeline(path: Path, found: dict[str, Any], config: TokenizerConfig) -> Pipeline:
    """The file's pipeline, less what belongs to training: padding, truncation, dropped merges."""
    source = str(path)
    if _settle(found, config):
        pipeline = guarded(source, "file", lambda: Pipeline.from_str(json.dumps(found, ensure_ascii=False)))
    else:
        pipeline = guarded(source, "file", lambda: Pipeline.from_file(str(path)))
    pipeline.no_padding()
    pipeline.no_truncation()
    for token in found.get("added_tokens") or ():
        _check_id(pipeline, token["content"], token["id"], source)
    _add_named(pipeline, config, source)
    return pipeline


def _settle(found: dict[str, Any], config: TokenizerConfig) -> bool:
    """Change what must not stay as it is in the file, and say whether anything did."""
    changed = found["model"].get("dropout") is not None
    found["model"]["dropout"] = None
    for token in found.get("added_tokens") or ():
        # A special token is found in text as it stands, or not at all: normalising must not make one.
        if token.get("normalized") and (token.get("special") or token["content"] in config.special):
            token["normalized"], changed = False, True
    return changed


def _add_named(pipeline: Pipeline, config: TokenizerConfig, source: str) -> None:
    """Make tokens of what only the configuration names, and special what it calls so."""
    known = pipeline.get_added_tokens_decoder()
    contents = {token.content for token in known.values()}
    for id_, token in sorted(config.added.items()):
        if token.content not in contents:
            pipeline.add_tokens([token])
            _check_id(pipeline, token.content, id_, source)
    names = sorted(name for name in config.special if pipeline.token_to_id(name) is not None)
    pipeline.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])


def _check_id(pipeline: Pipeline, text: str, stated: int, source: str) -> None:
    found = pipeline.token_to_id(text)
    if found != stated:
        raise TokenizerFault(source, "added_tokens", f"{text!r} has id {found} here, but {stated} is stated")


def _in_order(vocabulary: Mapping[str, int], source: str) -> tuple[str, ...]:
    """Every token at the place of its id; ids between that no token has are empty."""
    size = max(vocabulary.values(), default=-1) + 1
    if not 0 < size < MAX_ID:
        raise TokenizerFault(source, "model.vocab", f"has ids up to {size - 1}")
    tokens = [""] * size
    for text, token in vocabulary.items():
        tokens[token] = text
    return tuple(tokens)

"""tokenizer_config.json and its neighbours: which tokens have which role, and which there are besides the vocabulary.

Shared by every reader of a folder's tokenizer. Knows no vocabulary's own format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Pipeline

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .errors import TokenizerFault
from .tokenizer_checks import MAX_ID

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """What tokenizer_config.json and special_tokens_map.json say. `special` are names, `added` names by id.

    `bos` and `eos` are whether those are put around a prompt, where the files say it.
    """

    roles: Mapping[str, str]
    special: frozenset[str]
    added: Mapping[int, AddedToken]
    bos: bool | None = None
    eos: bool | None = None

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
            _flag(found.get("add_bos_token")),
            _flag(found.get("add_eos_token")),
        )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


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


def add_named(pipeline: Pipeline, config: TokenizerConfig, source: str) -> None:
    """Make tokens of what only the configuration names, and special what it calls so."""
    known = pipeline.get_added_tokens_decoder()
    contents = {token.content for token in known.values()}
    for id_, token in sorted(config.added.items()):
        if token.content not in contents:
            pipeline.add_tokens([token])
            check_id(pipeline, token.content, id_, source)
    names = sorted(name for name in config.special if pipeline.token_to_id(name) is not None)
    pipeline.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])


def check_id(pipeline: Pipeline, text: str, stated: int, source: str) -> None:
    found = pipeline.token_to_id(text)
    if found != stated:
        raise TokenizerFault(source, "added_tokens", f"{text!r} has id {found} here, but {stated} is stated")


def in_order(vocabulary: Mapping[str, int], source: str) -> tuple[str, ...]:
    """Every token at the place of its id; ids between that no token has are empty."""
    size = max(vocabulary.values(), default=-1) + 1
    if not 0 < size < MAX_ID:
        raise TokenizerFault(source, "model.vocab", f"has ids up to {size - 1}")
    tokens = [""] * size
    for text, token in vocabulary.items():
        tokens[token] = text
    return tuple(tokens)

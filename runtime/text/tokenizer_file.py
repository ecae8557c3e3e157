"""tokenizer.json, with what tokenizer_config.json and its neighbours add to it.

The pipeline is the `tokenizers` package's own; what is decided here is which tokens are special, which end an answer,
what goes around a prompt, and how tokens spell bytes. Knows no GGUF.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Pipeline

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from .ends import stated_ends
from .panics import guarded
from .surroundings import around
from .tokenizer_checks import MAX_FILE, check
from .tokenizer_config import TokenizerConfig, add_named, check_id, in_order
from .tokenizer_pieces import pieces_of
from .vocabulary import Vocabulary


def read_tokenizer_file(files: ModelFiles) -> Vocabulary:
    """The vocabulary of a folder that has a tokenizer.json."""
    path = files.files["tokenizer.json"]
    source = str(path)
    found = read_json_object(path, MAX_FILE)
    check(found, source)
    config = TokenizerConfig.read(files)
    pipeline = _pipeline(path, found, config)
    tokens = in_order(pipeline.get_vocab(with_added_tokens=True), source)
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
        check_id(pipeline, token["content"], token["id"], source)
    add_named(pipeline, config, source)
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

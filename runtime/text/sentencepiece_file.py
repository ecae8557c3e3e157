"""SentencePiece's own file, `tokenizer.model`, where no tokenizer.json lies beside it.

A protocol buffer of the tokens with their scores, how the trainer cut text, and how text is rewritten first. A symbol
that the trainer was told of begins a text of its own, as in a GGUF: a space is put behind it too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Pipeline

from ...registry.files import ModelFiles
from .errors import TokenizerFault
from .gathering import gather
from .panics import guarded
from .pieces import spelt_with_marks
from .protobuf import blob, fields, single, text, whole
from .sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, merges_by_score, rewriting, unhidden, unigram
from .tokenizer_checks import MAX_FILE, MAX_NAME, MAX_RUN, check_character_map, check_cuts
from .vocabulary import Vocabulary

NAMES = ("tokenizer.model", "spiece.model")

UNIGRAM, BPE = 1, 2
_ROLES = {45: "unk_token", 46: "bos_token", 47: "eos_token", 48: "pad_token"}
_ALL_SPACES = 1 << 30


@dataclass(slots=True)
class SentencePieceModel:
    """The fields that count, with the values that they have where the file leaves them out."""

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    roles: dict[str, str] = field(
        default_factory=lambda: {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    )
    sections: set[int] = field(default_factory=set)
    algorithm: int = UNIGRAM
    suffix: bool = False
    spell: bool = False
    characters: bytes = b""
    prefix: bool = True
    tidy: bool = True
    marked: bool = True

    def of_kind(self, *kinds: int) -> list[int]:
        return [token for token, kind in enumerate(self.kinds) if kind in kinds]


def is_sentencepiece(start: bytes) -> bool:
    """Whether a file that begins so may be one: its first field is the first token, a message."""
    return start[:1] == b"\x0a"


def read_sentencepiece(files: ModelFiles, name: str) -> Vocabulary:
    """The vocabulary of the SentencePiece model `name` of a folder."""
    path = files.files[name]
    source = str(path)
    if path.stat().st_size > MAX_FILE:
        raise TokenizerFault(source, "file", f"has more than {MAX_FILE} bytes")
    try:
        model = _parsed(path.read_bytes())
    except ValueError as error:
        raise TokenizerFault(source, "file", f"is not a SentencePiece model: {error}") from error
    _check(model, source)
    pipeline = guarded(source, "file", lambda: _pipeline(model))
    for special, kinds in ((True, (CONTROL, UNKNOWN)), (False, (USER_DEFINED,))):
        added = [AddedToken(model.tokens[token], special=special, normalized=False) for token in model.of_kind(*kinds)]
        (pipeline.add_special_tokens if special else pipeline.add_tokens)(added)
    steering = {model.tokens[token] for token in model.of_kind(CONTROL, UNKNOWN)}
    roles = {role: token for role, token in model.roles.items() if token in steering}
    leading = _ALL_SPACES if model.tidy else int(model.prefix)
    return gather(files, source, pipeline, roles, spelt_with_marks, leading=leading)


def _parsed(message: bytes) -> SentencePieceModel:
    model = SentencePieceModel()
    for number, value in fields(message):
        model.sections.add(number)
        if number == 1:
            _piece(model, blob(value))
        elif number == 2:
            _trained(model, blob(value))
        elif number == 3:
            _rewritten(model, blob(value))
    return model


def _piece(model: SentencePieceModel, message: bytes) -> None:
    found = dict(fields(message))
    model.tokens.append(text(found.get(1, b"")))
    model.scores.append(single(found[2]) if 2 in found else 0.0)
    model.kinds.append(whole(found.get(3, NORMAL)))


def _trained(model: SentencePieceModel, message: bytes) -> None:
    found = dict(fields(message))
    model.algorithm = whole(found.get(3, UNIGRAM))
    model.suffix = bool(whole(found.get(24, 0)))
    model.spell = bool(whole(found.get(35, 0)))
    model.roles |= {role: text(found[number]) for number, role in _ROLES.items() if number in found}


def _rewritten(model: SentencePieceModel, message: bytes) -> None:
    found = dict(fields(message))
    model.characters = blob(found.get(2, b""))
    model.prefix, model.tidy, model.marked = (bool(whole(found.get(number, 1))) for number in (3, 4, 5))


def _check(model: SentencePieceModel, source: str) -> None:
    def fault(where: str, reason: str) -> TokenizerFault:
        return TokenizerFault(source, where, reason)

    if model.algorithm not in (UNIGRAM, BPE):
        raise fault("model_type", f"is {model.algorithm}; unillm reads unigram (1) and BPE (2)")
    if model.suffix or not model.marked:
        raise fault("treat_whitespace_as_suffix" if model.suffix else "escape_whitespaces", "is not as models have it")
    if not set(model.kinds) <= {NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE}:
        raise fault("pieces", "has a token of a kind that no model has")
    if len(set(model.tokens)) != len(model.tokens) or not all(0 < len(token) <= MAX_NAME for token in model.tokens):
        raise fault("pieces", f"has a token twice, or one that is not 1 to {MAX_NAME} letters")
    if not all(map(math.isfinite, model.scores)):
        raise fault("pieces", "has a score that is not a number")
    if len(model.of_kind(UNKNOWN)) != 1:
        raise fault("pieces", "has not one token for what is unknown")
    names = {model.tokens[token] for token in model.of_kind(BYTE)}
    if model.spell and names != {f"<0x{byte:02X}>" for byte in range(256)}:
        raise fault("byte_fallback", "is on, but not every byte has a token")
    if not model.sections >= {1, 2, 3}:
        raise fault("file", "is cut short: tokens, settings of the trainer or settings for text are missing")
    if model.algorithm == UNIGRAM and any(len(token) > MAX_RUN for token in model.tokens):
        raise fault("pieces", f"has a token of more than {MAX_RUN} letters")
    check_cuts(model.tokens, "pieces", source)
    if model.characters:
        check_character_map(model.characters, "precompiled_charsmap", source)


def _pipeline(model: SentencePieceModel) -> Pipeline:
    (unknown,) = model.of_kind(UNKNOWN)
    if model.algorithm == BPE:
        pipeline = Pipeline(_merging(model, model.tokens[unknown]))
    else:
        pipeline = Pipeline(unigram(model.tokens, model.scores, unknown, spell=model.spell))
        hidden = model.of_kind(UNKNOWN, CONTROL, USER_DEFINED, BYTE)
        pipeline.pre_tokenizer = unhidden([model.tokens[token] for token in hidden])
    pipeline.normalizer = rewriting(prefix=model.prefix, tidy=model.tidy, characters=model.characters)
    return pipeline


def _merging(model: SentencePieceModel, unknown: str) -> models.BPE:
    ids: Mapping[str, int] = {text: token for token, text in enumerate(model.tokens)}
    merges = merges_by_score(model.tokens, model.of_kind(NORMAL, USER_DEFINED), model.scores)
    return models.BPE(dict(ids), merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.spell)

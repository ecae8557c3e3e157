"""The vocabulary inside a GGUF, as a pipeline of the `tokenizers` package.

Two models of it: "llama" is SentencePiece's (merge the pair whose token scores best, spell the rest in bytes), "gpt2" a
list of merges behind a rule for words (`splits.py`); "gemma4" is the second over text instead of bytes. Every array
and id is checked before use. Knows the keys `tokenizer.*` and nothing else of the file.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Pipeline

from ...registry.formats.gguf import GGUFValue
from .errors import TokenizerFault
from .pieces import SPACE_MARK, Pieces, spelt_in_letters, spelt_with_marks
from .sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, merges_by_score, rewriting
from .splits import SPLITS, UNNAMED, Split
from .tokenizer_checks import check_cuts
from .vocabulary import Vocabulary

# Templates' names of tokens -> GGUF's; "seperator" is how the format spells it.
ROLES = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "sep_token": "seperator",
    "pad_token": "padding",
    "cls_token": "cls",
    "mask_token": "mask",
}
ENDS = ("eos", "eot", "eom")


def read_vocabulary(metadata: Mapping[str, GGUFValue], source: str) -> Vocabulary | None:
    """The vocabulary that these key-values hold, or None where they hold none."""
    keys = _Keys(metadata, source)
    model = keys.text("model")
    if model is None or model in ("none", "no_vocab"):
        return None
    build = {"llama": _sentencepiece, "gpt2": _byte_pairs, "gemma4": _byte_pairs}.get(model)
    if build is None:
        raise TokenizerFault(source, keys.name("model"), f"{model!r} is not a tokenizer that unillm reads")
    return build(keys, _Table.read(keys))


class _Keys:
    """The file's `tokenizer.ggml.*`, each checked as it is asked for."""

    def __init__(self, metadata: Mapping[str, GGUFValue], source: str) -> None:
        self.metadata, self.source = metadata, source

    def name(self, key: str) -> str:
        return f"tokenizer.ggml.{key}"

    def get(self, key: str) -> "GGUFValue | None":
        return self.metadata.get(self.name(key))

    def fault(self, key: str, reason: str) -> TokenizerFault:
        return TokenizerFault(self.source, self.name(key), reason)

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fault(key, "is not a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.fault(key, "is neither true nor false")
        return default if value is None else value

    def strings(self, key: str) -> list[str]:
        items = self._array(key)
        strings = [item for item in items or () if isinstance(item, str)]
        if items is None or len(strings) != len(items):
            raise self.fault(key, "is missing" if items is None else "is not an array of strings")
        return strings

    def numbers(self, key: str, count: int, kind: type[int] | type[float]) -> Sequence[float] | None:
        """An array of `count` numbers, one for each token, or None."""
        items = self._array(key)
        if items is None:
            return None
        numbers = [item for item in items if type(item) in (int, kind) and isinstance(item, int | float)]
        if len(numbers) != len(items):
            raise self.fault(key, f"is not an array of {'whole ' if kind is int else ''}numbers")
        if len(numbers) != count:
            raise self.fault(key, f"has {len(numbers)} entries for {count} tokens")
        return numbers

    def _array(self, key: str) -> Sequence[object] | None:
        value = self.get(key)
        if isinstance(value, bool | int | float | str):
            raise self.fault(key, "is not an array")
        return value

    def id(self, key: str, count: int) -> int | None:
        value = self.get(f"{key}_token_id")
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < count:
            raise self.fault(f"{key}_token_id", f"is {value!r}; the vocabulary has {count} tokens")
        return value


@dataclass(frozen=True, slots=True)
class _Table:
    """The tokens with their kinds, in order of their ids; `ids` holds those that text can name."""

    tokens: tuple[str, ...]
    kinds: Sequence[int]
    ids: Mapping[str, int]

    @classmethod
    def read(cls, keys: _Keys) -> "_Table":
        tokens = keys.strings("tokens")
        if not tokens:
            raise keys.fault("tokens", "is empty")
        check_cuts(tokens, keys.name("tokens"), keys.source)
        kinds = keys.numbers("token_type", len(tokens), int)
        ids: dict[str, int] = {}
        for token, text in enumerate(tokens):
            if ids.setdefault(text, token) != token and text:
                raise keys.fault("tokens", f"{text!r} is there twice, as {ids[text]} and as {token}")
        ids.pop("", None)
        if kinds is not None and not set(kinds) <= set(range(BYTE + 1)):
            raise keys.fault("token_type", f"has a kind that is none of 0 to {BYTE}")
        return cls(tuple(tokens), [int(kind) for kind in kinds or [NORMAL] * len(tokens)], ids)

    def of_kind(self, *kinds: int) -> list[int]:
        return [token for token, kind in enumerate(self.kinds) if kind in kinds and self.tokens[token]]


# Byte pairs: "gpt2" and "gemma4"


def _byte_pairs(keys: _Keys, table: _Table) -> Vocabulary:
    split, note = _split(keys)
    pipeline = Pipeline(_merging_model(keys, table, split))
    if split.raw:
        pipeline.normalizer = normalizers.Replace(" ", SPACE_MARK)
    cuts: list[pre_tokenizers.PreTokenizer] = [_cut(pattern) for pattern in split.patterns]
    if not split.raw:
        cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    cuts += [_cut(pattern) for pattern in split.spelt]
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    spell = spelt_with_marks if split.raw else spelt_in_letters
    pieces = Pieces(spell(table.tokens, frozenset(table.of_kind(*_ADDED))))
    return _vocabulary(keys, table, pipeline, pieces, bos=split.bos, note=note)


def _cut(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _split(keys: _Keys) -> tuple[Split, str | None]:
    """The file's rule for words. Files from before rules had names do not say; they have one meaning, not a default."""
    name = "gemma4" if keys.text("model") == "gemma4" else keys.text("pre")
    if name is None:
        return UNNAMED, "the file does not name its rule for words (tokenizer.ggml.pre): answers may suffer"
    if name not in SPLITS:
        raise keys.fault("pre", f"{name!r} is a rule for words that unillm does not know")
    return SPLITS[name], None


def _merging_model(keys: _Keys, table: _Table, split: Split) -> models.BPE:
    merges = list(_pairs(keys, table))
    if not split.raw:
        return models.BPE(dict(table.ids), merges, ignore_merges=split.whole_words)
    return models.BPE(dict(table.ids), merges, unk_token=_unknown(keys, table), fuse_unk=True, byte_fallback=True)


def _pairs(keys: _Keys, table: _Table) -> Iterator[tuple[str, str]]:
    for number, merge in enumerate(keys.strings("merges")):
        border = merge.find(" ", 1)
        left, right = merge[:border], merge[border + 1 :]
        if border < 0 or not (left in table.ids and right in table.ids and left + right in table.ids):
            raise keys.fault("merges", f"entry {number}, {merge!r}, is not two tokens that make a third")
        yield left, right


def _unknown(keys: _Keys, table: _Table) -> str | None:
    token = keys.id("unknown", len(table.tokens))
    return None if token is None else table.tokens[token]


# SentencePiece: "llama"


def _sentencepiece(keys: _Keys, table: _Table) -> Vocabulary:
    complete = len(table.of_kind(BYTE)) == 256
    pipeline = Pipeline(
        models.BPE(
            dict(table.ids),
            _merges_by_score(keys, table),
            unk_token=_unknown(keys, table),
            fuse_unk=True,
            byte_fallback=complete,
        )
    )
    prefix = keys.flag("add_space_prefix", True)
    pipeline.normalizer = rewriting(prefix=prefix, tidy=keys.flag("remove_extra_whitespaces", False))
    pieces = Pieces(spelt_with_marks(table.tokens, frozenset(table.of_kind(*_ADDED))), leading=int(prefix))
    return _vocabulary(keys, table, pipeline, pieces, bos=True)


def _merges_by_score(keys: _Keys, table: _Table) -> list[tuple[str, str]]:
    scores = keys.numbers("scores", len(table.tokens), float)
    if scores is None or not all(map(math.isfinite, scores)):
        raise keys.fault("scores", "is missing" if scores is None else "has an entry that is not a number")
    return merges_by_score(table.tokens, table.of_kind(NORMAL, USER_DEFINED, UNUSED), scores)


# Both

_SPECIAL, _ADDED = (CONTROL, UNKNOWN), (CONTROL, UNKNOWN, USER_DEFINED)


def _vocabulary(
    keys: _Keys, table: _Table, pipeline: Pipeline, pieces: Pieces, *, bos: bool, note: str | None = None
) -> Vocabulary:
    count = len(table.tokens)
    ids = {role: keys.id(name, count) for role, name in ROLES.items()}
    ends = frozenset(token for name in ENDS if (token := keys.id(name, count)) is not None)
    added = table.of_kind(*_ADDED)
    special = frozenset(table.of_kind(*_SPECIAL)) | ends.intersection(added)
    _add(keys, table, pipeline, added, special)
    return Vocabulary(
        source=keys.source,
        pipeline=pipeline,
        tokens=table.tokens,
        pieces=pieces,
        added={table.tokens[token]: token for token in added},
        special=special,
        roles={role: table.tokens[token] for role, token in ids.items() if token is not None},
        bos_id=ids["bos_token"],
        eos_ids=ends,
        before=_around(keys, "add_bos_token", ids["bos_token"], bos),
        after=_around(keys, "add_eos_token", ids["eos_token"], False),
        note=note,
    )


def _around(keys: _Keys, flag: str, token: int | None, default: bool) -> tuple[int, ...]:
    return (token,) if keys.flag(flag, default) and token is not None else ()


def _add(keys: _Keys, table: _Table, pipeline: Pipeline, added: list[int], special: frozenset[int]) -> None:
    """Tell the pipeline which tokens it finds before all else. They are in its vocabulary, so their ids stay."""
    eats = _eats_space(keys, table)
    tokens = [
        AddedToken(table.tokens[token], special=token in special, normalized=False, rstrip=token in eats)
        for token in added
    ]
    pipeline.add_special_tokens([token for token in tokens if token.special])
    pipeline.add_tokens([token for token in tokens if not token.special])


def _eats_space(keys: _Keys, table: _Table) -> frozenset[int]:
    """Phi-3 drops the spaces behind its markers. The format has no key for that; the model's name is all there is."""
    name = keys.metadata.get("general.name")
    if not isinstance(name, str) or not any(family in name.lower() for family in ("phi-3", "phi3")):
        return frozenset()
    keeps = {"<unk>", "<s>", "<|endoftext|>"}
    return frozenset(token for token in table.of_kind(*_ADDED) if table.tokens[token] not in keeps)

"""Byte pairs given as a list of tokens in the order of their making, as tiktoken and tekken have them: no merges.

A word is cut by joining, again and again, the two neighbours that make the earliest token, the leftmost first. Knows
no file.
"""

from collections.abc import Iterator, Mapping, Sequence

from tokenizers import AddedToken, Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Pipeline

from .errors import TokenizerFault
from .pieces import byte_letters
from .tokenizer_checks import check_cuts

MAX_TOKENS = 1_000_000
MAX_LENGTH = 1_024  # bytes of one token


def ranked_pipeline(tokens: Sequence[bytes], special: Mapping[str, int], pattern: str, source: str) -> Pipeline:
    """The pipeline of `tokens`, the first made first; `special` have the ids that no token has."""
    _check(tokens, source)
    taken = set(special.values())
    free = (id_ for id_ in range(len(tokens) + len(special)) if id_ not in taken)
    letters = byte_letters()
    names = ["".join(letters[byte] for byte in token) for token in tokens]
    clash = special.keys() & set(names)
    if clash:
        raise TokenizerFault(source, "special_tokens", f"{min(clash)!r} is a token of text as well")
    ids = {**dict(zip(names, free, strict=False)), **special}
    if sorted(ids.values()) != list(range(len(tokens) + len(special))):
        raise TokenizerFault(source, "special_tokens", "leave ids that belong to no token")
    pipeline = Pipeline(models.BPE(ids, list(_merges(names)), ignore_merges=True))
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return pipeline


def add_special(pipeline: Pipeline, names: Sequence[str]) -> None:
    pipeline.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])


def _check(tokens: Sequence[bytes], source: str) -> None:
    if not 256 <= len(tokens) <= MAX_TOKENS:
        raise TokenizerFault(source, "tokens", f"are {len(tokens)}, not 256 to {MAX_TOKENS}")
    if len(set(tokens)) != len(tokens) or not all(0 < len(token) <= MAX_LENGTH for token in tokens):
        raise TokenizerFault(source, "tokens", f"has one twice, or one that is not 1 to {MAX_LENGTH} bytes")
    check_cuts(tokens, "tokens", source)
    if not {bytes([byte]) for byte in range(256)} <= set(tokens):
        raise TokenizerFault(source, "tokens", "has no token for some byte")


def _merges(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every way to make each token of two others, whatever their ranks: only what they make counts."""
    known = set(names)
    for name in names:
        for border in range(len(name) - 1, 0, -1):
            if name[:border] in known and name[border:] in known:
                yield name[:border], name[border:]

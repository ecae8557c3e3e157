"""SentencePiece's two ways of cutting text, as pipelines of the `tokenizers` package.

BPE merges the pair whose token scores best; unigram finds the tokens whose scores add up to the most. Knows no file:
`gguf_vocabulary.py` and `sentencepiece_file.py` read the scores, from a GGUF and from a `tokenizer.model`.
"""

from collections.abc import Collection, Iterator, Sequence

from tokenizers import Regex, models, normalizers, pre_tokenizers

from .pieces import SPACE_MARK
from .quoting import one_of

# What a token is, in the numbers that SentencePiece gave them and GGUF took over.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def merges_by_score(
    tokens: Sequence[str], mergeable: Collection[int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Every way to make a token of two, the best-scored token first.

    Equal scores belong to the leftmost pair, which no list of merges can say; longer tokens first, made by adding to
    the right of the longest, does the same for the only ones there are in practice: runs of one character.
    """
    parts = {tokens[token] for token in mergeable}
    ranked = sorted(mergeable, key=lambda token: (-scores[token], -len(tokens[token]), token))
    return [pair for token in ranked for pair in _halves(tokens[token], parts)]


def _halves(token: str, parts: set[str]) -> Iterator[tuple[str, str]]:
    for border in range(len(token) - 1, 0, -1):
        if token[:border] in parts and token[border:] in parts:
            yield token[:border], token[border:]


def unigram(tokens: Sequence[str], scores: Sequence[float], unknown: int, *, spell: bool) -> models.Unigram:
    """The model that `unhidden` must stand before; `spell` writes what no token holds in bytes."""
    return models.Unigram(list(zip(tokens, scores, strict=True)), unknown, spell)


def unhidden(names: Collection[str]) -> pre_tokenizers.PreTokenizer:
    """Keeps the unigram model from finding `names` in text: it takes every token for one that text may hold.

    Each is cut behind its first letter, so that only tokens over that border are lost, and only where a name stands;
    what is unknown on both sides of it is unknown twice.
    """
    return pre_tokenizers.Split(Regex(rf"(?={one_of(names)})[\s\S]"), "merged_with_previous")


def rewriting(*, prefix: bool, tidy: bool, characters: bytes = b"") -> normalizers.Normalizer:
    """What happens to text before it is cut: `characters` rewritten, spaces made one, one put in front, all marked."""
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(characters)] if characters else []
    if tidy:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if prefix:
        steps.append(normalizers.Prepend(SPACE_MARK))
    steps.append(normalizers.Replace(" ", SPACE_MARK))
    return normalizers.Sequence(steps)

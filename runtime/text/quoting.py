"""How text says the name of a special token without being that token.

A quoted name has a mark behind its first letter. The pipeline looks for special tokens before it normalises, and its
first normalisation takes the marks out: so no name is found, and what is cut into tokens is the text as it was given,
whole, as if the name had no meaning. The mark is two code points that Unicode reserves for such inner use.
"""

import re
from collections.abc import Collection, Iterator
from itertools import groupby

from tokenizers import Tokenizer as Pipeline
from tokenizers import normalizers

MARK = "\ufdd0\ufdd1"


class Quoting:
    """Some tokens' names, not to be found in text. Raises RecursionError for names that no tokenizer has."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = re.compile(f"(?={one_of(names)}).", re.DOTALL)

    def quote(self, text: str) -> str:
        """`text` with every name quoted."""
        return self._names.sub(rf"\g<0>{MARK}", keep_marks(text))


def keep_marks(text: str) -> str:
    """`text` such that its own marks, should it have any, are not taken out."""
    return text.replace(MARK, MARK[0] + MARK + MARK[1])


def read_quoted(pipeline: Pipeline) -> None:
    """Have `pipeline` take marks out before it does anything else to text."""
    drop = normalizers.Replace(MARK, "")
    before = pipeline.normalizer
    pipeline.normalizer = drop if before is None else normalizers.Sequence([drop, before])


def one_of(names: Collection[str]) -> str:
    """A pattern that finds where any of `names` begins, in time that does not grow with their number."""
    branches = list(_branches(sorted({name for name in names if name})))
    return f"(?:{'|'.join(branches)})" if branches else "(?!)"


def _branches(names: list[str]) -> Iterator[str]:
    """One for each first letter; a name that begins another's is enough."""
    for _, group in groupby(names, key=lambda name: name[0]):
        same = list(group)
        shared = _shared(same[0], same[-1])
        rest = [name[len(shared) :] for name in same]
        yield re.escape(shared) + ("" if rest[0] == "" else f"(?:{'|'.join(_branches(rest))})")


def _shared(first: str, last: str) -> str:
    """What both begin with; of sorted names the first and last, so all between do too."""
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]

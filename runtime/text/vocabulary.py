"""A tokenizer taken apart: what its files, of whatever kind, come to.

`tokenizer_file.py` and `gguf_vocabulary.py` make one; `tokenizer.py` works with it and knows neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer as Pipeline

from .pieces import Pieces


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`source` names the file in messages; `note` is what a person should know of it.

    `pipeline` cuts text; it adds nothing of its own, neither BOS nor padding. `added` are the tokens that it finds in
    text before anything else, `special` those that steer a model and are no text. `pieces` is None where tokens do not
    simply stand for bytes. `roles` are the names that templates know tokens by ("bos_token"). `before` and `after` are
    what a prompt gets in front and behind.
    """

    source: str
    pipeline: Pipeline
    tokens: tuple[str, ...]
    pieces: Pieces | None
    added: Mapping[str, int]
    special: frozenset[int]
    roles: Mapping[str, str]
    bos_id: int | None
    eos_ids: frozenset[int]
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    note: str | None = None

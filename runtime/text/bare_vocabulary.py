"""The vocabularies that lie in a folder without a tokenizer.json: which there are, and whose reader is which.

A file is told by what is in it, not by its name: `tokenizer.model` has been SentencePiece's, and is not always.
"""

from collections.abc import Callable

from ...registry.files import ModelFiles
from .errors import TokenizerFault
from .sentencepiece_file import NAMES, is_sentencepiece, read_sentencepiece
from .tekken_file import NAME as TEKKEN
from .tekken_file import read_tekken
from .tiktoken_file import QWEN_FILE, is_tiktoken, read_tiktoken
from .vocabulary import Vocabulary


def read_bare_vocabulary(files: ModelFiles) -> Vocabulary | None:
    """The vocabulary of a folder that has no tokenizer.json, or None where it has no other either."""
    if TEKKEN in files.files:
        return read_tekken(files)
    for name in (*NAMES, QWEN_FILE):
        if name in files.files:
            return _reader(files, name)(files, name)
    return None


def _reader(files: ModelFiles, name: str) -> Callable[[ModelFiles, str], Vocabulary]:
    with files.files[name].open("rb") as file:
        start = file.read(4096)
    if is_sentencepiece(start):
        return read_sentencepiece
    if is_tiktoken(start):
        return read_tiktoken
    raise TokenizerFault(str(files.files[name]), "file", "is neither a SentencePiece model nor a list of ranks")

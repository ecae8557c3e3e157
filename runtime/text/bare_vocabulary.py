"""The vocabularies that lie in a folder without a tokenizer.json: which there are, and whose reader is which.

A file is told by what is in it, not by its name: `tokenizer.model` has been SentencePiece's, and is not always.
"""

from ...registry.files import ModelFiles
from .errors import TokenizerFault
from .sentencepiece_file import NAMES, is_sentencepiece, read_sentencepiece
from .vocabulary import Vocabulary


def read_bare_vocabulary(files: ModelFiles) -> Vocabulary | None:
    """The vocabulary of a folder that has no tokenizer.json, or None where it has no other either."""
    for name in NAMES:
        if name in files.files:
            with files.files[name].open("rb") as file:
                start = file.read(16)
            if is_sentencepiece(start):
                return read_sentencepiece(files, name)
            raise TokenizerFault(str(files.files[name]), "file", "is no SentencePiece model")
    return None

"""A vocabulary for models of random weights: every byte, and short words behind a space, each merged letter by letter.

It means nothing, but programs that read text can run such a model, and a word of three letters is one token to all.
"""

from collections.abc import Iterator
from itertools import chain, islice, product
from string import ascii_lowercase
from typing import Final

from ..quantizing.gguf_file import Value
from ..text.pieces import byte_letters

_END: Final = "<|end|>"
_NORMAL, _CONTROL = 1, 3  # GGUF's numbers for kinds of tokens


def vocabulary(size: int) -> dict[str, Value]:
    """The keys of a GGUF that hold `size` tokens, more than 257."""
    letters = byte_letters()
    merges = list(islice(_merges(letters[ord(" ")]), size - len(letters) - 1))
    tokens = [_END, *letters.values(), *(one.replace(" ", "") for one in merges)]
    return {
        "tokenizer.ggml.model": Value("gpt2", "STRING"),
        "tokenizer.ggml.pre": Value("qwen2", "STRING"),
        "tokenizer.ggml.tokens": Value(tokens, "STRING"),
        "tokenizer.ggml.token_type": Value([_CONTROL, *[_NORMAL] * (size - 1)], "INT32"),
        "tokenizer.ggml.merges": Value(merges, "STRING"),
        "tokenizer.ggml.eos_token_id": Value(0, "UINT32"),
        "tokenizer.ggml.add_bos_token": Value(False, "BOOL"),
    }


def _merges(space: str) -> Iterator[str]:
    """What grows by a letter, the shortest first."""
    words = (product(ascii_lowercase, repeat=length) for length in range(1, 5))
    for *known, last in chain.from_iterable(words):
        yield f"{space}{''.join(known)} {last}"

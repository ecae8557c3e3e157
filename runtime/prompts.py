"""What people give as a prompt, made into token ids: text, ids, or a list of either."""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex, TypeAlias, TypeGuard

from .errors import InvalidPrompt
from .text.tokenizer import Tokenizer

Prompt: TypeAlias = str | Sequence[int]
Prompts: TypeAlias = Prompt | Sequence[Prompt]


def is_single(prompts: Prompts) -> TypeGuard[Prompt]:
    """One prompt, not a list of them. An empty list is a list of none."""
    return isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], SupportsIndex))


def as_list(prompts: Prompts) -> list[Prompt]:
    return [prompts] if is_single(prompts) else [_one(prompt) for prompt in prompts]


def encode(text: str, tokenizer: Tokenizer) -> list[int]:
    """The ids of a raw prompt: special tokens that it spells out are meant."""
    return tokenizer.encode(text, special=True)


def checked(ids: Sequence[int], vocabulary: int) -> list[int]:
    """`ids` as plain ints, seen to be of the vocabulary before any device is."""
    plain = [index(token) for token in ids]
    if not plain:
        raise InvalidPrompt("the prompt is empty: a model needs at least one token")
    wrong = min(plain) if min(plain) < 0 else max(plain)
    if not 0 <= wrong < vocabulary:
        raise InvalidPrompt(f"the token id {wrong} is not in the vocabulary of {vocabulary}")
    return plain


def _one(prompt: object) -> Prompt:
    if isinstance(prompt, str) or (isinstance(prompt, Sequence) and all(isinstance(t, SupportsIndex) for t in prompt)):
        return prompt
    raise InvalidPrompt(f"a prompt is text or a list of token ids, not {type(prompt).__name__}")

"""What people give as a prompt, made into token ids: text, ids, or a list of either."""

from collections.abc import Callable, Sequence
from operator import index
from typing import Final, SupportsIndex, TypeAlias, TypeGuard

from .errors import InvalidPrompt, PromptTooLong
from .text.tokenizer import Tokenizer

Prompt: TypeAlias = str | Sequence[int]
Prompts: TypeAlias = Prompt | Sequence[Prompt]

USUAL: Final = 4  # characters of a token, in most languages at most
LONG: Final = 65_536  # characters; fewer are cut in no time
SLACK: Final = 64


def is_single(prompts: Prompts) -> TypeGuard[Prompt]:
    """One prompt, not a list of them. An empty list is a list of none."""
    return isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], SupportsIndex))


def as_list(prompts: Prompts) -> list[Prompt]:
    if not isinstance(prompts, Sequence):
        raise InvalidPrompt(f"a prompt is text or a list of token ids, not {type(prompts).__name__}")
    return [prompts] if is_single(prompts) else [_one(prompt) for prompt in prompts]


def encode(text: str, tokenizer: Tokenizer, context: int | None = None) -> list[int]:
    """The ids of a raw prompt: special tokens that it spells out are meant. `within` says what `context` is for."""
    return within(text, lambda part: tokenizer.encode(part, special=True), context)


def within(text: str, cut: Callable[[str], list[int]], context: int | None) -> list[int]:
    """The ids that `cut` makes of `text`, seen not to be far too many before all of it is cut.

    A text is cut from its start, twice as much of it each time. What stands at the end of a part may be cut otherwise
    in the whole, hence `SLACK`. Without a `context` nothing is too many.
    """
    length = len(text) if context is None else max(context * USUAL, LONG)
    while context is not None and length < len(text):
        ids = cut(text[:length])
        if len(ids) > context + context // SLACK + SLACK:
            raise PromptTooLong(context, context, counted=False)
        length *= 2
    return cut(text)


def checked(ids: Sequence[int], vocabulary: int) -> list[int]:
    """`ids` as plain ints, seen to be of the vocabulary before any device is."""
    try:
        plain = [index(token) for token in ids]
    except TypeError as error:  # arrays of arrays say that they are whole numbers, and are not
        raise InvalidPrompt("a prompt is text or a list of token ids, each a whole number") from error
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

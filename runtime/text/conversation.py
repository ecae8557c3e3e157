"""What callers give as a conversation, as plain data: all that a template ever gets to see.

Plain data has no methods that a sandbox must know of, and is nobody else's: a template that changed it would change a
copy. Knows no template and no tokenizer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ..errors import InvalidPrompt

Quote: TypeAlias = Callable[[str], str]

REASONING = ("reasoning_content", "thinking", "reasoning")  # what a model thought goes by several names
MAX_DEPTH: Final = 64  # lists within lists


def plain(value: Any, quote: Quote = str, depth: int = 0) -> Any:
    """`value` in lists, dicts, text and numbers of its own, each text quoted. `InvalidPrompt` for what is none."""
    if depth > MAX_DEPTH:
        raise InvalidPrompt(f"the conversation has lists within lists, more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return quote(str(value))
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {plain(key, depth=depth + 1): plain(item, quote, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, quote, depth + 1) for item in value]
    raise InvalidPrompt(f"a conversation is text, numbers, lists and dicts; it cannot hold a {type(value).__name__}")


def plain_messages(
    messages: Sequence[Mapping[str, Any]], said: Quote = str, given: Quote = str
) -> list[dict[str, Any]]:
    """The messages, what the model said quoted by `said` and all else by `given`.

    A key without a value counts as missing, and reasoning is there under each of its names, as templates expect.
    """
    return [_plain_message(message, said, given) for message in messages]


def _plain_message(message: Mapping[str, Any], said: Quote, given: Quote) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidPrompt(f"a message is a dict with a role and a content, not {type(message).__name__}")
    quote = said if message.get("role") == "assistant" else given
    found = {key: plain(value, quote) for key, value in message.items() if value is not None}
    reasoning = next((found[name] for name in REASONING if name in found), None)
    if reasoning is not None:
        found = {"thinking": reasoning, **found, "reasoning_content": reasoning}
    return found

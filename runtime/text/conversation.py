"""What callers give as a conversation, as plain data: all that a template ever gets to see.

Plain data has no methods that a sandbox must know of, and is nobody else's: a template that changed it would change a
copy. Knows no template and no tokenizer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Quote: TypeAlias = Callable[[str], str]

REASONING = ("reasoning_content", "thinking", "reasoning")  # what a model thought goes by several names


def plain(value: Any, quote: Quote = str) -> Any:
    """`value` in lists, dicts, text and numbers of its own, each text quoted. TypeError for what is none of these."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return quote(str(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item, quote) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, quote) for item in value]
    raise TypeError(f"a conversation cannot hold a {type(value).__name__}")


def plain_messages(
    messages: Sequence[Mapping[str, Any]], said: Quote = str, given: Quote = str
) -> list[dict[str, Any]]:
    """The messages, what the model said quoted by `said` and all else by `given`.

    A key without a value counts as missing, and reasoning is there under each of its names, as templates expect.
    """
    return [_plain_message(message, said, given) for message in messages]


def _plain_message(message: Mapping[str, Any], said: Quote, given: Quote) -> dict[str, Any]:
    quote = said if message.get("role") == "assistant" else given
    found = {key: plain(value, quote) for key, value in message.items() if value is not None}
    reasoning = next((found[name] for name in REASONING if name in found), None)
    if reasoning is not None:
        found = {"thinking": reasoning, **found, "reasoning_content": reasoning}
    return found

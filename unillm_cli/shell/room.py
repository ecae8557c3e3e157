"""How much of the context a conversation takes, and what the model no longer reads when that is too much.

Nothing is left out without a word: whoever asks is told how many messages go, and that they do, before they do.
"""

from typing import Final

from ..speaking import Speaker
from .conversation import Conversation

_FULL: Final = 0.8  # of the context: what is beyond is worth a warning
_PART: Final = 4  # a quarter of the context is made free, so that not every turn has to leave something out


def make_room(conversation: Conversation, speaker: Speaker, wanted: int | None) -> int:
    """Leave out the oldest turns, so that the rest and an answer of `wanted` tokens fit; how many messages went."""
    room = wanted or speaker.context // _PART // 2
    if _fits(conversation, speaker, room):
        return 0
    before = conversation.first
    while conversation.first < len(conversation.messages) - 1:
        conversation.first += 1
        if conversation.messages[conversation.first]["role"] != "user":
            continue
        if _fits(conversation, speaker, max(room, speaker.context // _PART)):
            break
    return conversation.first - before


def meter_text(used: int, context: int) -> str:
    """312 of 2,048 tokens (15 %)"""
    return f"{used:,} of {context:,} tokens ({used * 100 // context} %)"


def is_nearly_full(used: int, context: int) -> bool:
    return used >= _FULL * context


def _fits(conversation: Conversation, speaker: Speaker, room: int) -> bool:
    """A message alone that does not fit is refused by who reads it, with the numbers."""
    count = speaker.count(conversation.read)
    return count is not None and count + room <= speaker.context

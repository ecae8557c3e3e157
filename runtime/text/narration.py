"""The text of one answer as it grows: tokens in, whole characters out, cut where a stop string says.

Nothing is handed out beyond a place where a stop string might begin. It knows neither requests nor scores.
"""

from collections.abc import Sequence

from .detokenizer import Detokenizer
from .stops import StopStrings
from .tokenizer import Tokenizer

PROMPT_TAIL = 8  # tokens: more than any character is cut into


class Narration:
    """Reads tokens that follow `prompt`, of which only the end matters: a first word may need its space."""

    def __init__(self, tokenizer: Tokenizer | None, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._stops = StopStrings(stops) if stops else None
        self._detokenizer = None
        if tokenizer is not None:
            self._detokenizer = Detokenizer(tokenizer)
            self._detokenizer.push(prompt[-PROMPT_TAIL:])

    @property
    def watches(self) -> bool:
        """Whether a stop string could end it, so that every token must be read as it comes."""
        return self._stops is not None

    @property
    def stop(self) -> str | None:
        """The stop string that ended it."""
        return None if self._stops is None else self._stops.found

    @property
    def stopped(self) -> bool:
        return self.stop is not None

    def push(self, tokens: Sequence[int], *, to_end: bool) -> str:
        """What may be handed out now; nothing is held back any more `to_end`."""
        if self._detokenizer is None:
            return ""
        text = self._detokenizer.push(tokens) + (self._detokenizer.finish() if to_end else "")
        if self._stops is None:
            return text
        safe, stopped = self._stops.push(text)
        return safe + self._stops.finish() if to_end and not stopped else safe

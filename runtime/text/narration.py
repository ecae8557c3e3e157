"""One answer as it grows: tokens in, whole characters out, cut where a stop string says.

Of an answer in a conversation it tells apart what is said, thought and to be called, as the `Hearing` has it. Nothing
is handed out beyond a place where a stop string might begin. It knows neither requests nor scores.
"""

from collections.abc import Sequence

from .answers.hearing import Hearing
from .answers.said import Said
from .detokenizer import Detokenizer
from .stops import StopStrings
from .tokenizer import Tokenizer

PROMPT_TAIL = 8  # tokens: more than any character is cut into


class Narration:
    """Reads tokens that follow `prompt`, of which only the end matters: a first word may need its space."""

    def __init__(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], stops: Sequence[str], hearing: Hearing | None = None
    ) -> None:
        self._stops = StopStrings(stops) if stops else None
        self._reader = None if hearing is None else hearing.reader()
        self._kept = frozenset[int]() if hearing is None else hearing.kept
        self._ends_early = hearing is not None and hearing.ends_early
        self._tokenizer = tokenizer
        self._detokenizer = None
        if tokenizer is not None:
            self._detokenizer = Detokenizer(tokenizer, skip_special=not self._kept)
            self._detokenizer.push(self._spelt(prompt[-PROMPT_TAIL:]))

    @property
    def watches(self) -> bool:
        """Whether something in the text could end it, so that every token must be read as it comes."""
        return self._stops is not None or self._ends_early

    @property
    def stop(self) -> str | None:
        """The stop string that ended it."""
        return None if self._stops is None else self._stops.found

    @property
    def stopped(self) -> bool:
        return self.stop is not None or (self._reader is not None and self._reader.over)

    def push(self, tokens: Sequence[int], *, to_end: bool, cut: bool = False) -> list[Said]:
        """What may be handed out now, in order; nothing is held back any more `to_end`, where the model would have gone
        on if it was `cut`.
        """
        if self._detokenizer is None:
            return []
        text = self._detokenizer.push(self._spelt(tokens)) + (self._detokenizer.finish() if to_end else "")
        if self._stops is not None:
            safe, stopped = self._stops.push(text)
            text, to_end = safe + self._stops.finish() if to_end and not stopped else safe, to_end or stopped
        if self._reader is None:
            return [Said(text)] if text else []
        return self._reader.push(text) + (self._reader.finish(cut=cut and self.stop is None) if to_end else [])

    def _spelt(self, tokens: Sequence[int]) -> Sequence[int]:
        """Those that reach the text; where some that are none must, the others are left out here."""
        tokenizer, kept = self._tokenizer, self._kept
        if tokenizer is None or not kept:
            return tokens
        return [token for token in tokens if token in kept or not tokenizer.is_special(token)]

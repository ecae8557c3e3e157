"""Text up to the first stop string, cut exactly, though the string come in pieces.

Of the text so far, what might still become a stop string is held back, and nothing more. Where several occur, the one
that begins first ends the text; of those that begin together any does, for the text before is the same.
"""

from collections.abc import Sequence


class StopStrings:
    """The stop strings of one answer. Raises ValueError for an empty one, which every text would end with."""

    def __init__(self, stops: Sequence[str]) -> None:
        if not all(stops):
            raise ValueError("a stop string is empty")
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self._stopped = False

    def push(self, text: str) -> tuple[str, bool]:
        """What may be handed out now, and whether a stop string has ended the text."""
        if self._stopped:
            return "", True
        text = self._held + text
        end = self._first_stop(text)
        self._stopped = end is not None
        cut = self._first_beginning(text) if end is None else end
        self._held = "" if self._stopped else text[cut:]
        return text[:cut], self._stopped

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_stop(self, text: str) -> int | None:
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        return min(places, default=None)

    def _first_beginning(self, text: str) -> int:
        """Where the end of `text` may be the beginning of a stop string; the length of `text` if nowhere."""
        for place in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[place:]) for stop in self._stops):
                return place
        return len(text)

"""Ending text exactly before a stop string, wherever its letters were cut into tokens.

Text goes in by pieces and comes out as soon as no stop string can begin in it. Knows neither tokens nor requests.
"""

import re
from collections.abc import Sequence


class StopStrings:
    """Watches one text. The stop string that begins first ends it; of those that begin together any is as good."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` are not empty."""
        self._whole = re.compile("|".join(map(re.escape, stops)))
        self._beginnings = {stop[:length] for stop in stops for length in range(1, len(stop))}
        self._longest = max(map(len, stops)) - 1
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What may be handed out now, and whether a stop string ended the text."""
        text = self._held + text
        found = self._whole.search(text)
        if found is not None:
            self._held = ""
            return text[: found.start()], True
        safe = len(text) - self._hopeful(text)
        self._held = text[safe:]
        return text[:safe], False

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _hopeful(self, text: str) -> int:
        """The length of the longest end of `text` that a stop string begins with."""
        for length in range(min(self._longest, len(text)), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0

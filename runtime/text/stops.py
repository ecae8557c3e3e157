"""Stop strings, cut out of text that comes in pieces, exactly where they would be cut out of the whole.

What is held back is only what may still become a stop string; how the text was cut into pieces changes nothing. So a
stop string that is there waits for one that began before it and may yet be completed.
"""

from collections.abc import Sequence

from .marks import Marks


class StopStrings:
    """Watches one text. The stop string that begins first ends it; of those that begin together any is as good."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` are not empty."""
        self._stops = Marks(stops)
        self._held = ""
        self.found: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string, the one that was `found`, ended the text."""
        return self.found is not None

    def push(self, text: str) -> tuple[str, bool]:
        """What may be handed out now, and whether a stop string ended the text."""
        text = self._held + text
        found = self._stops.find(text)
        safe = len(text) - self._stops.hopeful(text)
        if found is not None and found.start() <= safe:
            self._held, self.found = "", found[0]
            return text[: found.start()], True
        self._held = text[safe:]
        return text[:safe], False

    def finish(self) -> str:
        """What was held back, now that nothing follows. It may hold a stop string that waited for an earlier one."""
        held, self._held = self._held, ""
        found = self._stops.find(held)
        if found is None:
            return held
        self.found = found[0]
        return held[: found.start()]

"""The last lines on a terminal, which may still change: only what differs is written again, so that nothing flickers.

It knows lines and escape codes; neither Markdown nor models.
"""

from collections.abc import Callable, Sequence


class Region:
    """The cursor stands behind the last of its lines. Lines that have left the screen stay as they are."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: list[str] = []

    def show(self, lines: Sequence[str], rows: int) -> None:
        """Have `lines` stand there instead, on a screen of so many `rows`."""
        if self._lines == lines:
            return
        same = _same(self._lines, lines)
        kept = max(same, len(self._lines) - rows + 1)
        if kept >= len(lines):
            kept = len(lines) - 1  # the cursor shall stand behind the last of them
        self._write(_change(self._lines, lines, kept))
        self._lines = list(lines)

    def release(self, count: int) -> None:
        """The first `count` lines will not change any more; at least one is left."""
        self._lines = self._lines[count:]

    def settle(self) -> None:
        """What stands there stays, and the cursor begins a new line."""
        if self._lines:
            self._write("\n")
        self._lines = []


def _same(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines they have in common at their beginning."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))


def _change(old: Sequence[str], new: Sequence[str], kept: int) -> str:
    """What turns the screen's `old` lines from the one at `kept` on into the `new` ones."""
    if kept >= len(old):
        return "".join(f"\n{line}" for line in new[kept:]) if old else "\n".join(new)
    last = len(old) - 1
    if kept == last and len(new) > last and new[last].startswith(old[last]):
        return new[last][len(old[last]) :] + "".join(f"\n{line}" for line in new[last + 1 :])
    up = f"\x1b[{last - kept}A" if last > kept else ""
    return f"\r{up}" + "\x1b[K\n".join(new[kept:]) + "\x1b[K" + ("\x1b[J" if len(new) < len(old) else "")

"""Marks, looked for in text that comes in pieces: which stand in it, and which its end may yet become."""

import re
from collections.abc import Collection


class Marks:
    """Some texts that mean something where they stand. None of them is empty."""

    def __init__(self, marks: Collection[str]) -> None:
        longest_first = sorted(marks, key=len, reverse=True)
        self._whole = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._beginnings = {mark[:length] for mark in marks for length in range(1, len(mark))}
        self.longest = max(map(len, marks), default=0)

    def find(self, text: str, start: int = 0) -> re.Match[str] | None:
        """The one that begins first."""
        return self._whole.search(text, start)

    def stands_at(self, text: str, place: int) -> bool:
        return self._whole.match(text, place) is not None

    def hopeful(self, text: str) -> int:
        """The length of the longest end of `text` that a mark begins with."""
        for length in range(min(self.longest - 1, len(text)), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0

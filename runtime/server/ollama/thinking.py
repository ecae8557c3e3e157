"""What a model thinks aloud, told apart from what it says: text in pieces goes in, both come out.

Models that think put it between `<think>` and `</think>`, before all else; some templates write the first of the two
themselves. A piece may end within a mark: what could be the beginning of one is held back.
"""

from dataclasses import dataclass, field

BEGIN, END = "<think>", "</think>"


@dataclass(slots=True)
class Thoughts:
    """Reads one answer. `inside`: it begins in the middle of a thought, the prompt having opened it."""

    inside: bool = False
    _held: str = ""
    _begun: bool = field(default=False, init=False)  # something was said or thought: no other thought begins
    _trim: bool = field(default=True, init=False)  # the blanks around a thought are nobody's words

    def __post_init__(self) -> None:
        self._begun = self.inside

    def push(self, text: str) -> tuple[str, str]:
        """What of it is thought, and what is said."""
        self._held += text
        thought = said = ""
        if not self._begun and not self._opens():
            return "", ""
        if self.inside:
            thought = self._until_end()
        if not self.inside:
            said, self._held = self._trimmed(self._held), ""
        return thought, said

    def finish(self) -> tuple[str, str]:
        """What was held back, the answer being over."""
        rest, self._held = self._trimmed(self._held), ""
        return (rest, "") if self.inside else ("", rest)

    def _opens(self) -> bool:
        """Whether it is clear by now how the answer begins."""
        start = self._held.lstrip()
        if len(start) < len(BEGIN) and BEGIN.startswith(start):
            return False
        self._begun = True
        if start.startswith(BEGIN):
            self.inside, self._held = True, start.removeprefix(BEGIN)
        else:
            self._trim = False
        return True

    def _until_end(self) -> str:
        thought, mark, rest = self._held.partition(END)
        if mark:
            told = self._trimmed(thought).rstrip()
            self.inside, self._held, self._trim = False, rest, True
            return told
        # Blanks at the end are held too: they go where the thought ends.
        kept = max(_overlap(thought), len(thought) - len(thought.rstrip()))
        told, self._held = thought[: len(thought) - kept], thought[len(thought) - kept :]
        return self._trimmed(told)

    def _trimmed(self, text: str) -> str:
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        return text


def _overlap(text: str) -> int:
    """How many of the last characters may begin the mark that ends a thought, blanks before it counted."""
    found = next((size for size in range(len(END) - 1, 0, -1) if text.endswith(END[:size])), 0)
    before = text[: len(text) - found]
    return found + len(before) - len(before.rstrip()) if found else 0

"""What may reach a terminal: printable characters, newlines and tabs, nothing that steers it.

It knows neither streams nor commands. Names, messages and errors are spelled out (`visible`); the text of a model,
which comes in chunks, loses whole escape sequences (`TerminalText`), however they are split.
"""

import re
from unicodedata import category

# Joiners shape emoji and Indic scripts; they move nothing.
_JOINERS = "\u200c\u200d"
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# CSI, the string sequences (OSC, DCS, SOS, PM, APC) and the rest, each with its end where it has come already.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*(?P<csi>[@-~])?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?P<string>\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*(?P<short>[0-~])?"
)
_LONGEST_HELD = 4096


def visible(text: str) -> str:
    """`text` with every steering character spelled as \\uXXXX, as JSON spells it."""
    return text if text.isascii() and text.isprintable() else "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character in "\n\t" or character in _JOINERS or category(character) not in _STEERING:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


class TerminalText:
    """A model's text on its way to a terminal. What may be the beginning of a sequence is held until its end comes."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, chunk: str) -> str:
        """What of the text so far can be shown now."""
        text = (self._held + chunk).replace("\r\n", "\n")
        start = _unfinished(text)
        self._held = text[start:]
        return visible(_SEQUENCE.sub("", text[:start]))

    def finish(self) -> str:
        """What is left when no more comes; a sequence without its end is dropped."""
        held, self._held = self._held, ""
        return visible(_SEQUENCE.sub("", held))


def _unfinished(text: str) -> int:
    """Where the text breaks off inside a sequence, or between a carriage return and its newline; else its length."""
    for match in _SEQUENCE.finditer(text):
        open_ended = not any(match.groups()) and match.end() >= len(text) - 1 and _may_go_on(text, match.end())
        if open_ended and len(text) - match.start() <= _LONGEST_HELD:
            return match.start()
    return len(text) - 1 if text.endswith("\r") else len(text)


def _may_go_on(text: str, end: int) -> bool:
    """Whether the next chunk can still end the sequence: all is read, or the two-character end has begun."""
    return end == len(text) or text[end:] == "\x1b"

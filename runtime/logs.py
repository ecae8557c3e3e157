"""How processes that run for long tell what happens: a line each on standard error, whatever stands in it.

Names, headers and exceptions may hold anything; nothing of it moves a cursor or begins a line of its own.
"""

import logging
import sys
import traceback

_LONGEST = 2000  # characters of one line
_FRAMES = 8  # of a traceback: the innermost ones


class OneLine(logging.Formatter):
    """`who`: which process tells it. Of an exception its kind, its words and where it came from."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self._who = who

    def format(self, record: logging.LogRecord) -> str:
        said = f"{self.formatTime(record)} {self._who} {record.levelname.lower()} {record.getMessage()}"
        error = record.exc_info[1] if record.exc_info else None
        return escaped(said if error is None else f"{said}: {_told(error)}")[:_LONGEST]


def log_to_stderr(who: str, level: int = logging.INFO) -> None:
    """Our own lines from `level` on, those of libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(who))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("unillm").setLevel(level)


def escaped(text: str) -> str:
    """`text` with everything that is not plainly visible written out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {str(error)[:200]} ({places})"

"""What was typed in earlier shells, for the arrow keys. A line of JSON each, in a file for the user alone.

A line that begins with a blank is not kept: it may hold a secret.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prompt_toolkit.history import History

from ...registry.store import write_whole
from .store import make_private

_LARGEST: Final = 1 << 20  # bytes of the file; beyond, its older half goes
_LONGEST: Final = 16 << 10  # characters of what is kept of one input


class Past(History):
    """Two shells may add to the same file: what each types goes to its end in one piece."""

    def __init__(self, state: Path | None, keeps: Callable[[], bool]) -> None:
        super().__init__()
        self._path = None if state is None else state / "typed.jsonl"
        self._keeps = keeps

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        return [text for line in reversed(self._lines()) if (text := _text(line)) is not None]

    def store_string(self, string: str) -> None:
        """What cannot be kept is not missed: the shell goes on."""
        if not self._keeps() or self._path is None or string.startswith(" ") or len(string) > _LONGEST:
            return
        with suppress(OSError):
            make_private(self._path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
                file.write(json.dumps(string).encode() + b"\n")

    def _lines(self) -> list[bytes]:
        if self._path is None:
            return []
        try:
            handle = os.open(self._path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as file:
                data = file.read(4 * _LARGEST)
        except OSError:
            return []
        lines = data.splitlines()
        if len(data) > _LARGEST:
            lines = lines[len(lines) // 2 :]
            write_whole(self._path, b"\n".join(lines) + b"\n")
            self._path.chmod(0o600)
        return lines


def _text(line: bytes) -> str | None:
    try:
        text = json.loads(line)
    except ValueError:
        return None
    return text if isinstance(text, str) else None

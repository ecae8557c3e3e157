"""Where conversations are kept: a file each, for nobody else's eyes, in a folder of the user's own.

A file is written whole after every turn, so that it is never half of one. Whoever holds a conversation has its lock:
two shells never write the same file. A damaged file is told of, and hurts no other.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs
from filelock import FileLock, Timeout

from ...registry.errors import RegistryError
from ...registry.store import write_whole
from ..errors import CliError, NotThere
from .conversation import Conversation, NotAConversation

LARGEST: Final = 64 << 20  # bytes of a conversation that is read
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


class NoSuchConversation(NotThere):
    """None has that id, or there is none at all."""

    def __init__(self, wanted: str | None) -> None:
        super().__init__(f"there is no conversation {wanted}" if wanted else "there is no conversation to continue yet")
        self.wanted = wanted
        self.hint = "unillm history lists them" if wanted else "begin one: unillm shell"


class DamagedConversation(CliError):
    """A file in the folder of conversations that holds none."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} holds no conversation: {reason}")
        self.path, self.reason = path, reason
        self.hint = f"remove it: unillm history rm {path.stem}"


class NowhereToKeep(CliError):
    """Nothing can be kept in the state folder."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}")
        self.folder, self.reason = folder, reason
        self.hint = "UNILLM_STATE names another folder"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the folder: the conversation in it, or why there is none."""

    id: str
    changed: float
    conversation: Conversation | None
    error: DamagedConversation | None = None


def state_folder(named: str | None) -> Path:
    """Where the shell keeps its things: UNILLM_STATE, else the platform's own place for that."""
    folder = Path(named).expanduser() if named else platformdirs.user_state_path("unillm", appauthor=False)
    if not folder.is_absolute() and not named:
        raise NowhereToKeep(folder, "nobody says where your home is")
    return folder.absolute()


class Store:
    """The conversations of one user."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "conversations"

    def save(self, conversation: Conversation) -> None:
        """Raises `NowhereToKeep`."""
        path = self._path(conversation.id)
        text = json.dumps(conversation.as_data(), ensure_ascii=False, indent=1)
        try:
            self._make()
            write_whole(path, text.encode("utf-8", "replace"))
            path.chmod(_PRIVATE_FILE)
        except RegistryError as error:
            raise NowhereToKeep(self.folder, str(error)) from error
        except OSError as error:
            raise NowhereToKeep(self.folder, error.strerror or str(error)) from error

    def load(self, wanted: str) -> Conversation:
        """Raises `NoSuchConversation` and `DamagedConversation`."""
        kept = self._read(self._path(wanted))
        if kept is None:
            raise NoSuchConversation(wanted)
        if kept.conversation is None:
            raise kept.error or NoSuchConversation(wanted)
        return kept.conversation

    def latest(self) -> Conversation:
        """The one that was spoken in last."""
        for kept in self.all():
            if kept.conversation is not None:
                return kept.conversation
        raise NoSuchConversation(None)

    def all(self) -> list[Kept]:
        """The newest first."""
        try:
            paths = [one for one in self.folder.iterdir() if one.suffix == ".json" and not one.name.startswith(".")]
        except OSError:
            return []
        return sorted(filter(None, map(self._read, paths)), key=lambda kept: (kept.changed, kept.id), reverse=True)

    def remove(self, wanted: str) -> None:
        """Raises `NoSuchConversation`."""
        try:
            self._path(wanted).unlink()
        except OSError:
            raise NoSuchConversation(wanted) from None
        self._lock_path(wanted).unlink(missing_ok=True)

    @contextmanager
    def held(self, wanted: str) -> Iterator[bool]:
        """Whether the conversation is ours until the block ends; another shell may have it."""
        try:
            self._make()
            lock = FileLock(self._lock_path(wanted), mode=_PRIVATE_FILE)
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        except OSError:
            yield True  # nothing can be kept here at all, which is told when it is tried
            return
        try:
            yield True
        finally:
            lock.release()  # its file stays: who waits for one that is taken away would share the conversation

    def _make(self) -> None:
        """The folder, which is ours alone whoever made it."""
        make_private(self.folder)
        self.folder.chmod(_PRIVATE_FOLDER)

    def _path(self, wanted: str) -> Path:
        """The file of an id. An id is letters, digits and dashes: nothing else makes a path."""
        if not wanted or not wanted.isascii() or not wanted.replace("-", "").isalnum():
            raise NoSuchConversation(wanted)
        return self.folder / f"{wanted}.json"

    def _lock_path(self, wanted: str) -> Path:
        return self._path(wanted).with_suffix(".lock")

    def _read(self, path: Path) -> Kept | None:
        """What is in a file; None where there is none. A link in its place is not followed."""
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            return Kept(path.stem, 0.0, None, DamagedConversation(path, error.strerror or str(error)))
        with os.fdopen(handle, "rb") as file:
            changed = os.fstat(file.fileno()).st_mtime
            try:
                data = file.read(LARGEST + 1)
                found = Conversation.from_data(json.loads(data[:LARGEST]))
            except (OSError, ValueError, RecursionError) as error:
                reason = str(error) if isinstance(error, NotAConversation) else "it is not JSON"
                return Kept(path.stem, changed, None, DamagedConversation(path, reason))
        if found.id != path.stem:
            return Kept(path.stem, changed, None, DamagedConversation(path, "it is another one's"))
        return Kept(path.stem, changed, found)


def make_private(folder: Path) -> None:
    """Make a folder for the user alone, where it is not there."""
    folder.parent.mkdir(_PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder.mkdir(_PRIVATE_FOLDER, exist_ok=True)

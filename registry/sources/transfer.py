"""One file's bytes, from an address into a draft: resumed where they broke off, hashed on the way, never too long.

It knows ranges and retries; not repositories, nor where the file will lie.
"""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from ..digests import CHUNK, Hasher
from ..errors import ChecksumMismatch, HubFailed, MalformedAnswer, SourceUnreachable
from ..store import make_folder, open_ours, writing
from .hub import NO_SUCH_RANGE, PASSING, RemoteFile
from .pace import Pace
from .web import Response

Opener: TypeAlias = Callable[[Mapping[str, str]], AbstractContextManager[Response]]
Tell: TypeAlias = Callable[[int, int], None]

_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")
_ENOUGH_PROGRESS = 1 << 20


def download(
    file: RemoteFile,
    draft: Path,
    open_at: Opener,
    waits: tuple[float, ...],
    tell: Tell,
    pace: Pace | None = None,
) -> None:
    """Fill `draft` with the bytes of `file`, synced to the disk.

    A wrong checksum is given a second chance from the beginning, then it is a `ChecksumMismatch` and the draft is gone.
    """
    for chance in (1, 2):
        with writing(draft), Draft(draft, file.size) as target:
            _fill(file, target, open_at, waits, tell, pace)
            got = target.finish().like(file.digest)
        if got == file.digest:
            return
        draft.unlink()
        if chance == 2:
            hint = "it was removed; the hub, or something on the way, sends wrong bytes: try again later"
            raise ChecksumMismatch(file.name, str(file.digest), str(got), hint=hint)


class Draft:
    """An unfinished file: what an earlier try has left is hashed and kept."""

    def __init__(self, path: Path, size: int) -> None:
        make_folder(path.parent)
        self._path, self._file = path, os.fdopen(_open_draft(path), "r+b")
        self.size, self.done = size, 0
        self._hasher = Hasher(size)
        self._take_what_is_there()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Raises `MalformedAnswer` where it gets too long."""
        if self.done + len(chunk) > self.size:
            raise MalformedAnswer(self._path.name, "length", f"more than the {self.size} bytes it said")
        self._file.write(chunk)
        self._hasher.update(chunk)
        self.done += len(chunk)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.done, self._hasher = 0, Hasher(self.size)

    def finish(self) -> Hasher:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hasher

    def _take_what_is_there(self) -> None:
        while chunk := self._file.read(CHUNK):
            self._hasher.update(chunk)
            self.done += len(chunk)
        if self.done > self.size:
            self.restart()


def _open_draft(path: Path) -> int:
    """A regular file of our own making: a link or a pipe that somebody put there is refused."""
    handle = open_ours(path, os.O_RDWR)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return handle


def _fill(
    file: RemoteFile, target: Draft, open_at: Opener, waits: tuple[float, ...], tell: Tell, pace: Pace | None
) -> None:
    """Try until all is there. Every try that brings something worth having starts the count of failures anew."""
    failures = 0
    tell(target.done, file.size)
    while target.done < file.size:
        before = target.done
        try:
            _receive(target, open_at, tell, pace)
        except (SourceUnreachable, MalformedAnswer) as error:
            if isinstance(error, HubFailed) and error.status not in PASSING:
                raise
            failures = 1 if target.done - before >= _ENOUGH_PROGRESS else failures + 1
            if failures > len(waits):
                raise _given_up(file, target, error) from error
            wait = waits[failures - 1]
            time.sleep(error.pause(wait) if isinstance(error, HubFailed) else wait)


def _receive(target: Draft, open_at: Opener, tell: Tell, pace: Pace | None) -> None:
    """One try: from where the draft ends if the server can, else from the beginning."""
    wanted = {"Range": f"bytes={target.done}-"} if target.done else {}
    try:
        with open_at(wanted) as response:
            if not _continues(response, target):
                target.restart()
            for chunk in response.iter_bytes(min(CHUNK, pace.portion) if pace else CHUNK):
                target.write(chunk)
                if pace:
                    pace.take(len(chunk))
                tell(target.done, target.size)
    except (HubFailed, MalformedAnswer) as error:
        if isinstance(error, MalformedAnswer) or error.status == NO_SUCH_RANGE:
            target.restart()
        raise
    if target.done < target.size:
        raise SourceUnreachable("the server", f"it sent {target.done} of {target.size} bytes")


def _continues(response: Response, target: Draft) -> bool:
    if response.status_code != 206:
        return target.done == 0
    part = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    right = part and int(part["start"]) == target.done and part["total"] in ("*", str(target.size)) and not encoded
    if not right:
        raise MalformedAnswer("the server", "range", response.headers.get("Content-Range", ""))
    return True


def _given_up(file: RemoteFile, target: Draft, error: SourceUnreachable | MalformedAnswer) -> SourceUnreachable:
    """What is there of it is kept for the next time."""
    reason = error.reason if isinstance(error, SourceUnreachable) else str(error)
    source = error.source if isinstance(error, SourceUnreachable) else "the server"
    return SourceUnreachable(source, f"{file.name}: {target.done} of {target.size} bytes came, then: {reason}")

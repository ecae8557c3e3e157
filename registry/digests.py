"""Checksums: what may be called one, and what a file's really is.

The hub names large files by their sha256 and small ones by their git object id. A hash from outside is compared with a
strict pattern before anything is made of it, above all a path.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from .errors import MalformedAnswer
from .formats.reader import open_regular

CHUNK = 1 << 20
_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "git": re.compile(r"[0-9a-f]{40}")}


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum that has been found well-formed. `git` is the id of a git blob: sha1 over a header and the bytes."""

    kind: Literal["sha256", "git"]
    hex: str

    def __post_init__(self) -> None:
        if not _HEX[self.kind].fullmatch(self.hex):
            raise ValueError(f"{self.hex!r} is not a {self.kind} checksum")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`sha256:…` or `git:…`. Raises `ValueError`."""
        kind, _, value = text.partition(":")
        if kind == "sha256":
            return cls("sha256", value)
        if kind == "git":
            return cls("git", value)
        raise ValueError(f"{text!r} is not a checksum")

    def __str__(self) -> str:
        return f"{self.kind}:{self.hex}"


def checked_commit(source: str, value: object) -> str:
    """`value`, if it is a commit. Raises `MalformedAnswer`."""
    if isinstance(value, str) and _HEX["git"].fullmatch(value):
        return value
    raise MalformedAnswer(source, "commit", str(value))


def checked_digest(source: str, kind: Literal["sha256", "git"], value: object) -> Digest:
    """`value` as a digest. Raises `MalformedAnswer`."""
    if isinstance(value, str) and _HEX[kind].fullmatch(value):
        return Digest(kind, value)
    raise MalformedAnswer(source, "hash", str(value))


class Hasher:
    """Both checksums of a stream whose length is known before."""

    def __init__(self, size: int) -> None:
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        self._git.update(chunk)

    @property
    def sha256(self) -> Digest:
        return Digest("sha256", self._sha256.hexdigest())

    def like(self, digest: Digest) -> Digest:
        """The checksum of the same kind as `digest`."""
        return self.sha256 if digest.kind == "sha256" else Digest("git", self._git.hexdigest())


def hash_file(path: Path, tell: Callable[[int, int], None] | None = None) -> Hasher:
    """Read a regular file and give its checksums; `tell` hears of the bytes done and their total.

    Anything else than a regular file is a `FormatError`: a named pipe would never end.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        hasher, done = Hasher(size), 0
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
            done += len(chunk)
            if tell:
                tell(done, size)
    return hasher

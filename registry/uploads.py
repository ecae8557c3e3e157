"""Files that somebody sends in, each under its checksum, and the models that are made of them.

A file is in the store when all of it has come and its checksum is right. Until a model names it, `prune` may remove it.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from .create import own_name
from .describe import read_details
from .digests import Digest
from .errors import ChecksumMismatch, NotUploaded
from .files import ModelFiles
from .manifest import ArchiveOrigin, Manifest, ShelvedFile
from .selection import FORMAT_WORDS, choose_files
from .settings import RegistrySettings
from .store import Store, check_space, make_folder, new_file, put_in_place, writing

_WHERE = "the files that were sent"


def is_here(digest: Digest, settings: RegistrySettings) -> bool:
    """Whether the store has that file."""
    return Store(settings.home).blob(digest).is_file()


class Upload:
    """One file on its way in; `size` is how long it will be, where that is known. Left early, nothing of it stays."""

    def __init__(self, digest: Digest, settings: RegistrySettings, size: int | None = None) -> None:
        self._digest, self._store = digest, Store(settings.home)
        self._draft = self._store.home / "partial" / f"upload-{secrets.token_hex(8)}"
        self._hash = hashlib.sha256()
        with writing(self._draft):
            make_folder(self._draft.parent)
            check_space(self._draft.parent, size or 0)
            self._file = new_file(self._draft)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Raises `DiskFull` where it takes no more."""
        with writing(self._draft):
            self._file.write(chunk)
        self._hash.update(chunk)

    def finish(self) -> None:
        """Put the whole file into the store. Raises `ChecksumMismatch`."""
        got = Digest("sha256", self._hash.hexdigest())
        if got != self._digest:
            raise ChecksumMismatch("the file that was sent", str(self._digest), str(got))
        with writing(self._draft):
            self._file.flush()
            os.fsync(self._file.fileno())
            with self._store.fetching(self._digest):
                put_in_place(self._draft, self._store.blob(self._digest))


def manifest_of_uploads(name: str, uploads: Mapping[str, Digest], settings: RegistrySettings) -> Manifest:
    """What a model called `name` would be that has these files, by the names that they shall have.

    Raises `NotUploaded` for one that is not here, `NoWeights` and `FormatError` where they make no model.
    """
    store, target = Store(settings.home), own_name(name, settings)
    for digest in uploads.values():
        if not store.blob(digest).is_file():
            raise NotUploaded(str(digest))
    found = choose_files(_WHERE, sorted(uploads), one_gguf=True)
    paths = {one: store.blob(uploads[one]) for one in (*found.weights, *found.others)}
    weights = tuple(paths[one] for one in found.weights)
    return Manifest(
        ref=target,
        origin=ArchiveOrigin(_WHERE),
        format=found.format,
        variant=found.quant or FORMAT_WORDS[found.format],
        reason="it was sent",
        files=tuple(_shelved(one, uploads[one], store, one in found.weights) for one in paths),
        pulled=datetime.now(UTC).replace(microsecond=0),
        details=read_details(ModelFiles(str(target), found.format, weights, paths), found.quant),
    )


def _shelved(name: str, digest: Digest, store: Store, weights: bool) -> ShelvedFile:
    status = store.blob(digest).stat()
    return ShelvedFile(name, status.st_size, digest, weights, fetched=True, modified=status.st_mtime_ns)

"""A whole model in one file, to carry to another machine: a plain tar archive of its manifest and its files.

    unillm.json            the manifest, every file of it by its sha256
    blobs/sha256-<hex>     the files, in the manifest's order, each once

An archive is data from anywhere. Its members have no say in where they go: each must be the one that the manifest lets
expect, of that size and checksum. Nothing is listed before all of it is here.
"""

import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeAlias

from .create import own_name
from .digests import CHUNK, Digest, Hasher, hash_file
from .errors import ArchiveUnsound, ChecksumMismatch, FileTaken, NameTaken, NoWeights
from .events import Listener, Notice, Progress, Shelved, Verifying, nobody
from .formats.reader import open_regular
from .manifest import MAX_BYTES, ArchiveOrigin, Manifest, ManifestUnreadable, ShelvedFile, from_json, to_json
from .names import ModelRef
from .settings import RegistrySettings
from .shelf import Entry, Shelf
from .store import Store, blob_name, check_space, make_folder, new_file, put_in_place, writing

MANIFEST = "unillm.json"
_BLOCK = 512
Write: TypeAlias = Callable[[bytes], object]


# Out


def export(entry: Entry, target: Path, listener: Listener = nobody) -> Path:
    """Write the model into the archive `target`, every byte verified on the way. A file of that name is not touched."""
    target = target.absolute()
    if target.exists():
        raise FileTaken(target)
    manifest = _portable(entry, listener)
    check_space(target.parent, manifest.size)
    draft = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.tmp")
    with writing(target):
        try:
            with draft.open("xb") as file:
                _write(file, entry, manifest, listener)
                file.flush()
                os.fsync(file.fileno())
            put_in_place(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    return target


def _portable(entry: Entry, listener: Listener) -> Manifest:
    """The manifest without what is true of this machine alone, and with the one kind of checksum."""
    manifest = entry.sound
    origin = manifest.origin if isinstance(manifest.origin, ArchiveOrigin) else ArchiveOrigin(str(manifest.origin))
    files = [replace(one, digest=_sha256(entry, one, listener), fetched=True, modified=0) for one in manifest.files]
    return replace(manifest, origin=origin, files=tuple(files))


def _sha256(entry: Entry, file: ShelvedFile, listener: Listener) -> Digest:
    if file.digest.kind == "sha256":
        return file.digest
    listener(Verifying(file.name))
    hasher = hash_file(entry.place(file))
    _check(f"{entry.name}: {entry.place(file)}", file.digest, hasher.like(file.digest), entry.name)
    return hasher.sha256


def _write(archive: IO[bytes], entry: Entry, manifest: Manifest, listener: Listener) -> None:
    data = to_json(manifest)
    archive.write(_header(MANIFEST, len(data)) + data + _padding(len(data)))
    for file, source in {one.digest: (one, entry.place(one)) for one in manifest.files}.values():
        archive.write(_header(_member(file), file.size))
        with os.fdopen(open_regular(source), "rb") as content:
            got = _pour(content, file, archive.write, listener)
        _check(f"{entry.name}: {source}", file.digest, got, entry.name)
        archive.write(_padding(file.size))
    archive.write(bytes(2 * _BLOCK))


def _check(what: str, want: Digest, got: Digest, model: str) -> None:
    if got != want:
        raise ChecksumMismatch(what, str(want), str(got), hint=f"fetch it again: unillm pull {model}")


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


def _member(file: ShelvedFile) -> str:
    return f"blobs/{blob_name(file.digest)}"


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


# In


def import_archive(
    file: Path, settings: RegistrySettings, listener: Listener = nobody, *, name: str | None = None
) -> Entry:
    """Put the model of an archive on the shelf, under its own name or `name`.

    Raises `ArchiveUnsound`, `NameTaken`, and `NoWeights` where there is no such file.
    """
    if not file.exists():
        raise NoWeights(str(file), "there is no such file")
    shelf = Shelf(settings)
    with os.fdopen(open_regular(file), "rb") as archive:
        manifest = _manifest(file, archive, own_name(name, settings) if name is not None else None)
        if here := _already(manifest, shelf, listener):
            return here
        check_space(settings.home, manifest.size)
        with shelf.store.working():
            for one in {one.digest: one for one in manifest.files}.values():
                _take(file, archive, one, shelf.store, listener)
            _expect_end(file, archive)
            entry = shelf.add(_stamped(manifest, shelf.store))
    listener(Shelved(entry.name))
    return entry


def _manifest(file: Path, archive: IO[bytes], name: ModelRef | None) -> Manifest:
    size = _next(file, archive, MANIFEST)
    if size > MAX_BYTES:
        raise ArchiveUnsound(file, f"its manifest is larger than {MAX_BYTES} bytes")
    data = _exactly(file, archive, size)
    _exactly(file, archive, -size % _BLOCK)
    try:
        manifest = from_json(data)
    except ManifestUnreadable as error:
        raise ArchiveUnsound(file, f"its manifest: {error}") from error
    if not isinstance(manifest.origin, ArchiveOrigin) or any(one.digest.kind != "sha256" for one in manifest.files):
        raise ArchiveUnsound(file, "its manifest is not one of an archive")
    return replace(manifest, ref=name or manifest.ref)


def _already(manifest: Manifest, shelf: Shelf, listener: Listener) -> Entry | None:
    """The model of that name, if it is this one and whole. Another one keeps its name."""
    entry = shelf.find(manifest.ref)
    if entry is None:
        return None
    if entry.manifest is None or entry.manifest.id != manifest.id:
        raise NameTaken(str(manifest.ref))
    if shelf.verify(entry, listener):
        return None
    listener(Notice(f"{entry.name} is here already"))
    return entry


def _take(path: Path, archive: IO[bytes], file: ShelvedFile, store: Store, listener: Listener) -> None:
    """The next member, which must be `file`, into the store."""
    if (size := _next(path, archive, _member(file))) != file.size:
        raise ArchiveUnsound(path, f"{file.name} has {size} bytes, where {file.size} are right")
    with store.fetching(file.digest), _draft(store) as draft:
        with new_file(draft) as target:
            got = _pour(archive, file, target.write, listener)
            target.flush()
            os.fsync(target.fileno())
        if got != file.digest:
            hint = "nothing of it was kept; the archive was damaged on its way, or changed"
            raise ChecksumMismatch(f"{path}: {file.name}", str(file.digest), str(got), hint=hint)
        put_in_place(draft, store.blob(file.digest))
    _exactly(path, archive, -size % _BLOCK)


@contextmanager
def _draft(store: Store) -> Iterator[Path]:
    draft = store.home / "partial" / f"import-{secrets.token_hex(8)}"
    with writing(draft):
        make_folder(draft.parent)
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _stamped(manifest: Manifest, store: Store) -> Manifest:
    """The manifest with the time stamps of the files as they lie here now."""
    files = [replace(one, fetched=True, modified=store.blob(one.digest).stat().st_mtime_ns) for one in manifest.files]
    return replace(manifest, files=tuple(files))


def _next(file: Path, archive: IO[bytes], name: str) -> int:
    """The size of the next member, which must be a plain file called `name`."""
    try:
        member = tarfile.TarInfo.frombuf(_exactly(file, archive, _BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
        raise ArchiveUnsound(file, f"no member of an archive where {name} should be: {error}") from error
    if member.name != name or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
        raise ArchiveUnsound(file, f"{member.name[:100]!r} stands where {name} should be")
    return member.size


def _expect_end(file: Path, archive: IO[bytes]) -> None:
    if archive.read(_BLOCK).strip(b"\0"):
        raise ArchiveUnsound(file, "it holds more than its manifest says")


def _exactly(file: Path, archive: IO[bytes], count: int) -> bytes:
    data = archive.read(count)
    if len(data) != count:
        raise ArchiveUnsound(file, "it ends too early")
    return data


def _pour(source: IO[bytes], file: ShelvedFile, write: Write, listener: Listener) -> Digest:
    """As many bytes as `file` has, as far as there are so many. Returns their checksum."""
    hasher, done = Hasher(file.size), 0
    while done < file.size and (chunk := source.read(min(CHUNK, file.size - done))):
        write(chunk)
        hasher.update(chunk)
        done += len(chunk)
        listener(Progress(file.name, done, file.size))
    return hasher.sha256

"""What is installed: one manifest a model, and the files it names, wherever they lie.

The shelf knows no source. It lists, finds, copies, removes and checks; a manifest that cannot be read is shown as
broken and hurts no other.
"""

import errno
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .brought import Brought
from .digests import Digest, hash_file
from .errors import (
    BrokenManifest,
    ChecksumMismatch,
    FileMissing,
    FormatError,
    NameTaken,
    NotInstalled,
    RegistryError,
    StoreUnreadable,
)
from .events import Listener, Progress, Verifying, nobody
from .files import ModelFiles, Stamp
from .formats.reader import open_regular
from .hub_cache import CachedFile, CachedRepo
from .leftovers import Leftovers, Needed, mentioned, unneeded_blobs
from .manifest import (
    MAX_BYTES,
    ArchiveOrigin,
    HubOrigin,
    Manifest,
    ManifestUnreadable,
    PackageOrigin,
    RegistryOrigin,
    ShelvedFile,
    from_json,
    to_json,
)
from .names import ModelRef
from .settings import RegistrySettings
from .store import Store, manifest_name, sync_folder, write_whole, writing

UNTRUSTED = -1  # the time stamp of a file whose bytes were found wrong: no file has it


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the shelf. Either `manifest` or `broken` is there."""

    name: str
    path: Path
    store: Store
    manifest: Manifest | None = None
    broken: RegistryError | None = None

    @property
    def sound(self) -> Manifest:
        """The manifest. Raises what is wrong with it."""
        if self.manifest is None:
            raise self.broken or BrokenManifest(self.path, "cannot be read")
        return self.manifest

    def place(self, file: ShelvedFile) -> Path:
        """Where `file` should lie."""
        match self.sound.origin:
            case HubOrigin(repo, commit, _, cache):
                return CachedRepo(cache, repo).pointer(commit, file.name)
            case PackageOrigin() | RegistryOrigin() | ArchiveOrigin():
                return self.store.blob(file.digest)
            case origin:
                return origin.folder / file.name

    def check_readable(self) -> None:
        """Raises `StoreUnreadable` where there is a manifest, and nobody can say yet whether it is broken."""
        if isinstance(self.broken, StoreUnreadable):
            raise self.broken

    def check(self) -> None:
        """Raises `FileMissing` where a file is not there, or not as long as it should be. Nothing is read."""
        for file in self.sound.files:
            _stat(self, file)

    def files(self) -> ModelFiles:
        """The model as it is loaded, unchecked."""
        manifest = self.sound
        return ModelFiles(
            name=str(manifest.ref),
            format=manifest.format,
            weights=tuple(self.place(one) for one in manifest.files if one.weights),
            files={one.name: self.place(one) for one in manifest.files},
            template=manifest.template,
            parameters=manifest.parameters,
            system=manifest.system,
            messages=manifest.messages,
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not as it should be; `got` None: it is not there."""

    file: str
    path: Path
    want: Digest
    got: Digest | None


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of a model's files: the bytes freed, and those left because others brought or need them."""

    name: str
    freed: int
    left: int


class Shelf:
    """The installed models under `settings.home`."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.store, self._cache = Store(settings.home), settings.cache_dir
        self._brought = Brought(self.store.brought, settings.cache_dir)

    def entries(self) -> list[Entry]:
        """Every model by name, the broken ones among them."""
        with _without_collecting():
            found = (self._read(path) for path in self.store.manifest_files())
            return sorted((one for one in found if one), key=lambda entry: entry.name)

    def find(self, ref: ModelRef) -> Entry | None:
        """The model of that name, whatever the case of its letters; its files may be gone all the same."""
        path = self.store.manifest(ref)
        return self._read(path)

    def need(self, ref: ModelRef) -> Entry:
        """The same, or `NotInstalled`."""
        entry = self.find(ref)
        if entry is None:
            raise NotInstalled(str(ref), [])
        return entry

    def add(self, manifest: Manifest) -> Entry:
        """Write the manifest: from here on the model is installed, in place of any other of its name.

        What that one had and nobody needs any more is freed. Raises `FileMissing` where a file is not there.
        """
        path = self.store.manifest(manifest.ref)
        entry = Entry(str(manifest.ref), path, self.store, manifest)
        with self.store.changing():
            for file in manifest.files:
                _stat(entry, file)
            left = self._left_by_replaced(entry)
            write_whole(path, to_json(manifest))
            self._brought.forget(cached_files(manifest))
            left.remove(self._brought)
        return entry

    def copy(self, source: Entry, target: ModelRef) -> Entry:
        """Give a model a second name. Its files are shared."""
        if self.store.manifest(target).exists():
            raise NameTaken(str(target))
        return self.add(replace(source.sound, ref=target, pulled=datetime.now(UTC).replace(microsecond=0)))

    def remove(self, entry: Entry) -> Removed:
        """Take a model off the shelf, and free what nobody else needs. Raises `NotInstalled`, `StoreUnreadable`."""
        with self.store.changing():
            found = self._read(entry.path)  # somebody may have changed it, or taken it away, since it was looked up
            if found is None:
                raise NotInstalled(entry.name)
            found.check_readable()
            needed = self.needed([found])
            left = self._left_by(found, _content_of(found.path) or b"", needed)
            self._keep_in_mind(found, needed)
            with writing(found.path):
                found.path.unlink(missing_ok=True)
                sync_folder(found.path.parent)
            return _removed(found, left.remove(self._brought))

    def foretell(self, entries: Sequence[Entry]) -> list[Removed]:
        """What removing them, one after the other, would free."""
        told, gone = list[Removed](), list[CachedFile]()
        for number, one in enumerate(entries):
            left = self._left_by(one, _content_of(one.path) or b"", self.needed(entries[: number + 1]))
            told.append(_removed(one, left.weigh(gone)))
            gone += left.cached
        return told

    def needed(self, but: Sequence[Entry] = ()) -> Needed:
        """What the models other than `but` need."""
        gone = {one.path for one in but}
        others = [one for one in self.entries() if one.path not in gone]
        places = frozenset[Path]().union(*(_places(one) for one in others if one.manifest))
        unread = [_content_of(one.path) for one in others if one.broken]
        return Needed(places, b"".join(one for one in unread if one), anything=None in unread)

    def remembered(self, to_replace: ModelRef) -> dict[Path, ShelvedFile]:
        """What every installed model's manifest says of the files, by where they lie. Raises `StoreUnreadable`."""
        found: dict[Path, ShelvedFile] = {}
        for entry in self.entries():
            if entry.path == self.store.manifest(to_replace):
                entry.check_readable()
            for file in entry.manifest.files if entry.manifest else ():
                path = entry.place(file)
                before = found.get(path, file)
                doubted = UNTRUSTED in (file.modified, before.modified)
                modified = UNTRUSTED if doubted else file.modified
                found[path] = replace(file, fetched=file.fetched or before.fetched, modified=modified)
        return found

    def verify(self, entry: Entry, listener: Listener = nobody) -> list[Fault]:
        """Read every byte of a model again. What is wrong comes back, and is not trusted any more until it is right."""
        found = [_examine(entry, one, listener) for one in entry.sound.files]
        faults = [fault for fault in found if fault]
        if faults:
            self._remember_times(entry, {fault.file: UNTRUSTED for fault in faults})
        return faults

    def ready(self, entry: Entry, listener: Listener = nobody) -> ModelFiles:
        """The model as it is loaded, its files as they were when they were verified.

        That they have the same size and time stamp is enough; one that has not is read again.
        """
        manifest = entry.sound
        stamps = {path: stamp for one in manifest.files if (stamp := Stamp.of(path := entry.place(one)))}
        changed = [one for one in manifest.files if _stat(entry, one) != one.modified]
        for one in changed:
            if fault := _examine(entry, one, listener):
                again = f"fetch it again: unillm pull {entry.name}"
                raise ChecksumMismatch(f"{entry.name}: {fault.path}", str(fault.want), str(fault.got), hint=again)
        if changed:
            self._remember_times(entry, {one.name: stamps[entry.place(one)].modified for one in changed})
        files = replace(entry.files(), stamps=stamps)
        files.check_unchanged()
        return files

    def _remember_times(self, entry: Entry, times: Mapping[str, int]) -> None:
        """So that the next load need not read them once more, or must. Where we may not write, it does as before."""
        files = tuple(replace(one, modified=times.get(one.name, one.modified)) for one in entry.sound.files)
        try:
            with self.store.changing():
                found = self._read(entry.path)
                if found and found.manifest == entry.manifest:
                    write_whole(entry.path, to_json(replace(entry.sound, files=files)))
        except RegistryError:
            return

    def _read(self, path: Path) -> Entry | None:
        """What lies there; None where nothing does, or no longer."""
        name = path.name.removesuffix(".json").replace("+", "/").replace("=", ":")
        try:
            manifest = from_json(_bytes_of(path))
        except FormatError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            reason = "is a link, which is not followed here" if path.is_symlink() else error.reason
            told = BrokenManifest if _is_nothing(error) else StoreUnreadable
            return Entry(name, path, self.store, broken=told(path, reason))
        except OSError as error:
            return Entry(name, path, self.store, broken=StoreUnreadable(path, error.strerror or str(error)))
        except ManifestUnreadable as error:
            return Entry(name, path, self.store, broken=BrokenManifest(path, str(error)))
        if manifest_name(manifest.ref) != path.name:
            return Entry(name, path, self.store, broken=BrokenManifest(path, f"is that of {manifest.ref}"))
        return Entry(str(manifest.ref), path, self.store, manifest)

    def _left_by(self, entry: Entry, content: bytes, needed: Needed) -> Leftovers:
        """The files of a manifest that goes. Of the cache, only what lies in the one in use and was brought by us."""
        ours = [one for one in self._brought_by(entry) if not needed.has(one.pointer, one.digest)]
        return Leftovers(unneeded_blobs(self.store, mentioned(content), needed), tuple(ours))

    def _brought_by(self, entry: Entry) -> list[CachedFile]:
        """The files of a model that are in the cache because of us."""
        manifest = entry.manifest
        if manifest is None or not isinstance(manifest.origin, HubOrigin) or manifest.origin.cache != self._cache:
            return []
        return [file for file, one in zip(cached_files(manifest), manifest.files, strict=True) if one.fetched]

    def _left_by_replaced(self, new: Entry) -> Leftovers:
        """What the model that `new` takes the place of leaves behind."""
        old = self.find(new.sound.ref)
        if old:
            old.check_readable()
        if old is None or old.manifest is None or old.manifest.id == new.sound.id:
            return Leftovers()
        needed = self.needed([old]).also(_places(new))
        self._keep_in_mind(old, needed)
        return self._left_by(old, to_json(old.manifest), needed)

    def _keep_in_mind(self, going: Entry, needed: Needed) -> None:
        """Note what is ours in the shared cache, with the manifest gone: `prune` finds it if we are killed, or if it
        stays for the sake of a manifest that nobody can read."""
        for file in self._brought_by(going):
            if file.pointer not in needed.places:
                self._brought.note(file)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """What is made in here is kept, all of it: to look for cycles in between costs a third of reading a large shelf."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def cached_files(manifest: Manifest) -> list[CachedFile]:
    """The files of a manifest that lie in the Hugging Face cache."""
    origin = manifest.origin
    if not isinstance(origin, HubOrigin):
        return []
    repo = CachedRepo(origin.cache, origin.repo)
    return [CachedFile(repo, origin.commit, one.name, one.digest) for one in manifest.files]


def _places(entry: Entry) -> set[Path]:
    return {entry.place(one) for one in entry.sound.files}


def _removed(entry: Entry, freed: int) -> Removed:
    size = entry.manifest.size if entry.manifest else 0
    return Removed(entry.name, freed, max(0, size - freed))


def _stat(entry: Entry, file: ShelvedFile) -> int:
    """The time stamp of a file that is there and as long as it should be. Raises `FileMissing`."""
    path = entry.place(file)
    if not path.is_file():
        raise FileMissing(entry.name, path)
    status = path.stat()
    if status.st_size != file.size:
        raise FileMissing(entry.name, path, f"has {status.st_size} bytes, not {file.size}")
    return status.st_mtime_ns


def _examine(entry: Entry, file: ShelvedFile, listener: Listener) -> Fault | None:
    path = entry.place(file)
    listener(Verifying(file.name))
    try:
        got = hash_file(path, lambda done, total: listener(Progress(file.name, done, total))).like(file.digest)
    except (OSError, FormatError):
        return Fault(file.name, path, file.digest, None)
    return None if got == file.digest else Fault(file.name, path, file.digest, got)


def _content_of(path: Path) -> bytes | None:
    """The bytes of a manifest, none of what is no file; None where it has some that we may not see."""
    try:
        return _bytes_of(path)
    except FormatError as error:
        return b"" if _is_nothing(error) else None
    except OSError:
        return None


def _is_nothing(error: FormatError) -> bool:
    """Whether there is no file to read: nothing at all, a link, a pipe, a folder."""
    cause = error.__cause__
    return cause is None or (isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ELOOP))


def _bytes_of(path: Path) -> bytes:
    """The bytes of a manifest, one more than it may have where it is too long. Raises `FormatError`."""
    with os.fdopen(open_regular(path, follow=False), "rb", buffering=0) as file:
        return file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)

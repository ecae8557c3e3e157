"""Files that are made here, not fetched: written in a folder of the store, and kept under their checksum when whole."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .digests import Digest, hash_file
from .settings import RegistrySettings
from .store import Store, make_folder, put_in_place, writing


@contextmanager
def workplace(settings: RegistrySettings) -> Iterator[Path]:
    """A folder to write in, which is gone in the end; nothing is pruned meanwhile."""
    store = Store(settings.home)
    folder = store.home / "partial" / f"making-{secrets.token_hex(8)}"
    with store.working():
        with writing(folder):
            make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def keep(file: Path, settings: RegistrySettings) -> Digest:
    """Move a finished file, synced to the disk, into the store. Until a model names it, `prune` may remove it."""
    store, digest = Store(settings.home), hash_file(file).sha256
    with writing(file), store.fetching(digest):
        put_in_place(file, store.blob(digest))
    return digest

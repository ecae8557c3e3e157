"""Files that nobody needs any more: which they are, what they weigh, and their removal.

Only what is ours is ever among them: files of our own store, and files of the Hugging Face cache that we have brought
there. What a manifest that can be read uses stays, and whatever one that cannot be read so much as mentions.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from .brought import Brought
from .digests import Digest
from .hub_cache import CachedFile
from .store import Store, writing

_STORED = re.compile(rb"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Needed:
    """What the models that stay need: the `places` of their files, and every word of the `unread` manifests.

    `anything`: there is a manifest whose very bytes cannot be had, and it may need whatever there is.
    """

    places: frozenset[Path]
    unread: bytes = b""
    anything: bool = False

    def also(self, places: set[Path]) -> Self:
        """The same, and the files at these places."""
        return replace(self, places=self.places | places)

    def has(self, path: Path, digest: Digest) -> bool:
        return self.anything or path in self.places or digest.hex.encode() in self.unread


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Files that may go: `blobs` of the store and files of the `cached` snapshots."""

    blobs: tuple[Path, ...] = ()
    cached: tuple[CachedFile, ...] = ()

    def weigh(self, gone: Sequence[CachedFile] = ()) -> int:
        """The bytes that removing them would free, were the cached files `gone` removed before."""
        return sum(path.stat().st_size for path in self.blobs) + _weight(self.cached, gone)

    def remove(self, brought: Brought) -> int:
        """Remove them, and the notes about them. Returns the bytes freed."""
        freed = 0
        for path in self.blobs:
            size = path.stat().st_size
            with writing(path):
                path.unlink()
            freed += size
        for one in self.cached:
            freed += one.repo.remove(one)
            brought.forget([one])
        return freed


def unneeded_blobs(store: Store, digests: Iterable[Digest], needed: Needed) -> tuple[Path, ...]:
    """The files of the store with those checksums that may go."""
    found = {digest: store.blob(digest) for digest in digests}
    return tuple(path for digest, path in found.items() if path.is_file() and not needed.has(path, digest))


def mentioned(manifest: bytes) -> set[Digest]:
    """Every checksum of the store's kind in a manifest, whether it can be read or not."""
    return {Digest("sha256", found.decode()) for found in _STORED.findall(manifest)}


def _weight(files: Sequence[CachedFile], gone: Sequence[CachedFile]) -> int:
    """What the blobs weigh that go with `files`: nothing that stays links to them."""
    going = {one.pointer for one in (*files, *gone)}
    places = {one: place for one in files if (place := one.bytes_at())}
    last = {place.resolve(): place for one, place in places.items() if not one.repo.links_to(place) - going}
    return sum(place.stat().st_size for place in last.values())

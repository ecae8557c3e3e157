"""Models from the hub: planned from the listing of one commit, downloaded into the Hugging Face cache, verified there.

What other tools have fetched is reused and verified once; what is left of an interrupted download is resumed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..brought import Brought
from ..digests import Digest, hash_file
from ..errors import (
    MalformedAnswer,
    ModelNotFound,
    NoWeights,
    OfflineMode,
    RepositoryChanged,
    SourceUnreachable,
    VariantNotFound,
)
from ..events import Listener, Notice, Progress, Verifying
from ..hub_cache import CachedFile, CachedRepo
from ..manifest import HubOrigin, Manifest, ShelvedFile
from ..names import ModelRef
from ..offers import HubOffer
from ..plan import Plan, PlannedFile
from ..selection import FORMAT_WORDS, Chosen, choose_files
from ..settings import RegistrySettings
from ..store import Store, free_space, held
from .hub import Hub, Listing, RemoteFile
from .pace import pace_of
from .transfer import Tell, download
from .web import Response

DEFAULT_REVISION = "main"


class HuggingFace:
    """The hub as a source."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings, self._hub = settings, Hub(settings)
        self._brought = Brought(Store(settings.home).brought, settings.cache_dir)

    def plan(self, ref: ModelRef, offer: HubOffer, listener: Listener) -> Plan:
        """What of the repository would come here. Raises what the hub refuses or does not have."""
        try:
            listing = self._hub.listing(offer.repo, offer.revision)
        except (SourceUnreachable, OfflineMode) as error:
            return self._plan_from_cache(ref, offer, error, listener)
        chosen = choose_files(offer.repo, listing.names(), offer.quant, offer.pattern)
        if listing.gated != "no":
            self._hub.check_access(offer.repo)
        return self._planned(ref, offer, listing, chosen)

    def plan_exactly(self, wanted: Manifest, origin: HubOrigin) -> Plan:
        """How the very files of a manifest would come here. The hub is not asked what it has."""
        cached = CachedRepo(self._settings.cache_dir, origin.repo)
        files = [(RemoteFile(one.name, one.size, one.digest), one.weights) for one in wanted.files]
        return Plan(
            ref=wanted.ref,
            origin=origin,
            format=wanted.format,
            variant=wanted.variant,
            reason=wanted.reason,
            files=tuple(_planned_file(cached, origin.commit, one, weights=weights) for one, weights in files),
            folder=self._settings.cache_dir,
            free=free_space(self._settings.cache_dir),
            licence=wanted.licence,
        )

    def fetch(self, plan: Plan, known: Mapping[Path, ShelvedFile], listener: Listener) -> tuple[ShelvedFile, ...]:
        """Bring every file of the plan into the cache, whole and verified."""
        origin = plan.origin
        if not isinstance(origin, HubOrigin):
            raise TypeError("not a plan of the hub's")
        cached = CachedRepo(origin.cache, origin.repo)
        ours = self._brought_before(cached, known)
        files = tuple(self._bring(one, origin, cached, known, ours, listener) for one in plan.files)
        cached.name_revision(origin.revision or DEFAULT_REVISION, origin.commit)
        return files

    def _brought_before(self, cached: CachedRepo, known: Mapping[Path, ShelvedFile]) -> Mapping[Path, Digest]:
        """The files of that repository which are here because of us, whether a manifest names them or not."""
        shelved = {path: one.digest for path, one in known.items() if one.fetched and cached.folder in path.parents}
        noted = {file.pointer: file.digest for file in self._brought.files() if file.repo == cached}
        return shelved | noted

    def _plan_from_cache(
        self, ref: ModelRef, offer: HubOffer, error: SourceUnreachable | OfflineMode, listener: Listener
    ) -> Plan:
        """The hub cannot be asked: a snapshot that some tool has fetched whole is as good. Else `error`."""
        listing = _cached_listing(CachedRepo(self._settings.cache_dir, offer.repo), offer.revision)
        try:
            chosen = choose_files(offer.repo, listing.names(), offer.quant, offer.pattern) if listing else None
        except (NoWeights, VariantNotFound):
            chosen = None
        if listing is None or chosen is None:
            raise error
        listener(
            Notice(f"{error}; {offer.repo} is taken from the Hugging Face cache, as it was at {listing.commit[:12]}")
        )
        return self._planned(ref, offer, listing, chosen)

    def _planned(self, ref: ModelRef, offer: HubOffer, listing: Listing, chosen: Chosen) -> Plan:
        cached = CachedRepo(self._settings.cache_dir, offer.repo)
        weights = [listing.file(name) for name in chosen.weights]
        others = [listing.file(name) for name in chosen.others]
        _refuse_twins(offer.repo, [*chosen.weights, *chosen.others])
        return Plan(
            ref=ref,
            origin=HubOrigin(
                offer.repo, listing.commit, self._settings.endpoint, self._settings.cache_dir, offer.revision
            ),
            format=chosen.format,
            variant=chosen.quant or FORMAT_WORDS[chosen.format],
            reason=_reason(offer, chosen),
            files=(
                *(_planned_file(cached, listing.commit, one, weights=True) for one in weights),
                *(_planned_file(cached, listing.commit, one, weights=False) for one in others),
            ),
            folder=self._settings.cache_dir,
            free=free_space(self._settings.cache_dir),
            licence=listing.licence or offer.licence,
            gated=listing.gated,
        )

    def _bring(
        self,
        file: PlannedFile,
        origin: HubOrigin,
        cached: CachedRepo,
        known: Mapping[Path, ShelvedFile],
        ours: Mapping[Path, Digest],
        listener: Listener,
    ) -> ShelvedFile:
        """One file: verified where it is here already, downloaded where it is not or is wrong.

        It is ours to remove where we bring it, or have done so before: what `ours` says.
        """
        pointer = cached.pointer(origin.commit, file.name)
        with held(cached.lock(file.digest)):
            linked = pointer.exists()
            fetched = not _is_right(cached, origin.commit, file, known, listener)
            if fetched:
                self._download(file, origin, cached, listener)
            mine = fetched or pointer in ours or (not linked and file.digest in ours.values())
            if mine and not linked:
                self._brought.note(CachedFile(cached, origin.commit, file.name, file.digest))
            cached.link(file.digest, origin.commit, file.name)
        return ShelvedFile(
            name=file.name,
            size=file.size,
            digest=file.digest,
            weights=file.weights,
            fetched=mine,
            modified=pointer.stat().st_mtime_ns,
        )

    def _download(self, file: PlannedFile, origin: HubOrigin, cached: CachedRepo, listener: Listener) -> None:
        address = self._hub.address(origin.repo, origin.commit, file.name)

        @contextmanager
        def open_at(headers: Mapping[str, str]) -> Iterator[Response]:
            try:
                with self._hub.answer(origin.repo, origin.revision, address, headers) as response:
                    yield response
            except ModelNotFound as error:
                raise RepositoryChanged(origin.repo, file.name) from error

        self._hub.check_reach(origin.repo)
        draft = cached.partial(file.digest)
        remote = RemoteFile(file.name, file.size, file.digest)
        pace = pace_of(self._settings.limit_rate) if self._settings.limit_rate else None
        download(remote, draft, open_at, self._settings.waits, _progress_of(file.name, listener), pace)
        self._brought.note(CachedFile(cached, origin.commit, file.name, file.digest))
        cached.store(draft, file.digest)


def _refuse_twins(repo: str, names: Sequence[str]) -> None:
    """Two files whose names differ in nothing but case are one on many disks: which, nobody could say."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise MalformedAnswer(repo, "list of files, two of which differ in case alone", f"{other}, {name}")


def _reason(offer: HubOffer, chosen: Chosen) -> str:
    if offer.quant is None and chosen.quant is not None:
        return f"{offer.reason}, which has no original weights; {chosen.quant} is the usual quantisation"
    return offer.reason


def _planned_file(cached: CachedRepo, commit: str, file: RemoteFile, *, weights: bool) -> PlannedFile:
    have = file.size if cached.find(file.digest, commit, file.name, file.size) else _left_over(cached, file)
    return PlannedFile(file.name, file.size, file.digest, weights, cached.pointer(commit, file.name), have)


def _left_over(cached: CachedRepo, file: RemoteFile) -> int:
    """What an interrupted download has brought; never all of it, for then it would have its name."""
    partial = cached.partial(file.digest)
    return min(partial.stat().st_size, max(file.size - 1, 0)) if partial.is_file() else 0


def _is_right(
    cached: CachedRepo, commit: str, file: PlannedFile, known: Mapping[Path, ShelvedFile], listener: Listener
) -> bool:
    """Whether the cache has the file with the bytes it should have. One that has not is thrown out."""
    found = cached.find(file.digest, commit, file.name, file.size)
    if found is None:
        cached.drop(file.digest, commit, file.name)
        return False
    before = known.get(cached.pointer(commit, file.name))
    if before and before.digest == file.digest and before.modified == found.stat().st_mtime_ns:
        return True
    listener(Verifying(file.name))
    if hash_file(found, _progress_of(file.name, listener)).like(file.digest) == file.digest:
        return True
    listener(Notice(f"{file.name} in the Hugging Face cache has wrong bytes; it is fetched anew"))
    cached.drop(file.digest, commit, file.name)
    return False


def _progress_of(name: str, listener: Listener) -> Tell:
    return lambda done, total: listener(Progress(name, done, total))


def _cached_listing(cached: CachedRepo, revision: str | None) -> Listing | None:
    """What the cache holds of a revision, in the hub's own words: the names of its blobs are their checksums."""
    commit = cached.commit_of(revision or DEFAULT_REVISION)
    if commit is None:
        return None
    stated = {name: _stated(digest, size) for name, digest, size in cached.snapshot_files(commit)}
    return Listing(cached.repo, commit, stated) if stated else None


def _stated(digest: Digest, size: int) -> Mapping[str, object]:
    if digest.kind == "sha256":
        return {"lfs": {"sha256": digest.hex, "size": size}}
    return {"blobId": digest.hex, "size": size}

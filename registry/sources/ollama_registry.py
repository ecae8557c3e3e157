"""Models of Ollama's registry: a manifest that names blobs by their sha256, and the blobs, fetched into our own store.

    GET /v2/<namespace>/<model>/manifests/<tag>     which blobs make up the model, each by its kind
    GET /v2/<namespace>/<model>/blobs/<digest>      the bytes of one, often by way of another host

Nobody logs in: what is not public is refused by name. No token of the hub's is ever sent here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

from ..digests import Digest
from ..errors import HubFailed, MalformedAnswer, ModelNotFound, NotPublic, OfflineMode, SourceUnreachable
from ..events import Listener, Notice, Progress
from ..manifest import Manifest, RegistryOrigin, ShelvedFile
from ..names import ModelRef
from ..offers import RegistryOffer
from ..plan import Plan, PlannedFile
from ..settings import RegistrySettings
from ..store import Store, free_space, put_in_place, writing
from ..variants import split_quantisation
from .hub import RemoteFile
from .ollama_layers import MAX_BYTES, Layer, Pinned, Placed, read_layers, read_pinned, refuse_unreadable
from .pace import pace_of
from .reach import why_unreachable
from .stored import is_right, shelved
from .transfer import download
from .web import Response, stream

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_NAMES = {  # what a layer is called as a file, and what a file was as a layer
    "model": "model.gguf",
    "projector": "projector.gguf",
    "template": "ollama/template",
    "system": "ollama/system",
    "params": "ollama/params",
    "messages": "ollama/messages",
    "license": "ollama/license",
}
_LARGE = ("model", "projector")


class OllamaRegistry:
    """The registry at `settings.ollama_registry`."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings, self._store = settings, Store(settings.home)

    def plan(self, ref: ModelRef, offer: RegistryOffer, listener: Listener) -> Plan:
        """What would come here. Raises what the registry refuses or does not have."""
        name = f"{offer.name}:{offer.tag}"
        manifest = self._manifest(offer, name)
        origin = RegistryOrigin(
            self._settings.ollama_registry, offer.name, offer.tag, Digest("sha256", sha256(manifest).hexdigest())
        )
        files = tuple(self._planned_file(*one) for one in self._named(name, manifest, listener))
        return Plan(
            ref=ref,
            origin=origin,
            format="gguf",
            variant=split_quantisation(offer.tag)[1].quant or "GGUF",
            reason=offer.reason,
            files=files,
            folder=self._settings.home,
            free=free_space(self._settings.home),
        )

    def plan_exactly(self, wanted: Manifest, origin: RegistryOrigin) -> Plan:
        """How the very files of a manifest would come here. The registry is not asked what it has."""
        return Plan(
            ref=wanted.ref,
            origin=origin,
            format=wanted.format,
            variant=wanted.variant,
            reason=wanted.reason,
            files=tuple(self._planned_file(one.name, one.size, one.digest) for one in wanted.files),
            folder=self._settings.home,
            free=free_space(self._settings.home),
            licence=wanted.licence,
        )

    def fetch(self, plan: Plan, listener: Listener) -> tuple[ShelvedFile, ...]:
        """Bring every file of the plan into the store, whole and verified."""
        if not isinstance(plan.origin, RegistryOrigin):
            raise TypeError("not a plan of the registry's")
        return tuple(self._bring(one, plan.origin, listener) for one in plan.files)

    def _manifest(self, offer: RegistryOffer, name: str) -> bytes:
        self._check_reach(name)
        address = f"{self._settings.ollama_registry}/v2/{offer.name}/manifests/{offer.tag}"
        body = bytearray()
        with self._answer(name, address, {"Accept": _MANIFEST}, self._settings.patience) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise MalformedAnswer(self._place, "manifest", f"more than {MAX_BYTES} bytes")
        return bytes(body)

    def _named(self, name: str, manifest: bytes, listener: Listener) -> list[tuple[str, int, Digest]]:
        """The layers as files: their names here, their sizes and checksums."""
        try:
            layers = read_layers(manifest)
        except ValueError as error:
            raise MalformedAnswer(self._place, "manifest", str(error)) from error
        refuse_unreadable(name, layers)
        for one in layers:
            if one.kind in _NAMES and one.kind not in _LARGE and one.size > MAX_BYTES:
                raise MalformedAnswer(self._place, f"size of {one.kind}", str(one.size))
            if one.kind not in _NAMES:
                listener(Notice(f"{name}: its layer {one.kind[:80]!r} means nothing here and is left out"))
        return _as_files([one for one in layers if one.kind in _NAMES])

    def _planned_file(self, name: str, size: int, digest: Digest) -> PlannedFile:
        path = self._store.blob(digest)
        draft = path.stat().st_size if path.is_file() else 0
        partial = self._store.draft(digest)
        if draft != size:
            draft = min(partial.stat().st_size, max(size - 1, 0)) if partial.is_file() else 0
        return PlannedFile(name, size, digest, _kind_of(name) == "model", path, draft)

    def _bring(self, file: PlannedFile, origin: RegistryOrigin, listener: Listener) -> ShelvedFile:
        with self._store.fetching(file.digest):
            if not is_right(file, listener):
                self._download(file, origin, listener)
        return shelved(file)

    def _download(self, file: PlannedFile, origin: RegistryOrigin, listener: Listener) -> None:
        name = f"{origin.name}:{origin.tag}"
        address = f"{self._settings.ollama_registry}/v2/{origin.name}/blobs/{file.digest}"

        @contextmanager
        def open_at(headers: Mapping[str, str]) -> Iterator[Response]:
            with self._answer(name, address, headers, self._settings.patience * 6) as response:
                yield response

        self._check_reach(name)
        draft = self._store.draft(file.digest)
        pace = pace_of(self._settings.limit_rate) if self._settings.limit_rate else None
        remote = RemoteFile(file.name, file.size, file.digest)
        download(
            remote,
            draft,
            open_at,
            self._settings.waits,
            lambda done, total: listener(Progress(file.name, done, total)),
            pace,
        )
        with writing(file.path):
            put_in_place(draft, file.path)

    @contextmanager
    def _answer(self, name: str, address: str, headers: Mapping[str, str], seconds: float) -> Iterator[Response]:
        """A good answer. Who asks is said, and nothing else of the user."""
        sent = {"User-Agent": "unillm", "Accept-Encoding": "identity", **headers}
        with stream(name, self._place, address, sent, seconds) as response:
            match response.status_code:
                case 401 | 403:
                    raise NotPublic(name, self._place)
                case 404:
                    raise ModelNotFound(name, where=f"at {self._settings.ollama_registry}")
                case status if status >= 400:
                    raise HubFailed(self._place, status, response.headers.get("Retry-After"))
            yield response

    def _check_reach(self, name: str) -> None:
        if self._settings.offline:
            raise OfflineMode(name)
        if reason := why_unreachable(self._settings.ollama_registry, self._settings.patience):
            raise SourceUnreachable(self._place, reason)

    @property
    def _place(self) -> str:
        return f"the registry at {self._settings.ollama_registry}"


def pinned_to(manifest: Manifest, plan: Plan, listener: Listener, template: str | None = None) -> Manifest:
    """The manifest with what the registry has pinned to the model; `template` stands in for the registry's.

    Raises `NoTemplate` where that is not known here and the weights have none.
    """
    layers = [Placed(_kind_of(one.name), one.path) for one in plan.files]
    pinned: Pinned = read_pinned(str(plan.ref), layers, template)
    for text in pinned.notices:
        listener(Notice(text))
    return replace(
        manifest,
        template=pinned.template,
        parameters=pinned.parameters,
        system=pinned.system,
        messages=pinned.messages,
        terms=pinned.terms,
    )


def _as_files(layers: list[Layer]) -> list[tuple[str, int, Digest]]:
    """Every layer under a name of its own: the second of a kind is called so."""
    seen: Counter[str] = Counter()
    found = []
    for one in layers:
        seen[one.kind] += 1
        stem, dot, suffix = _NAMES[one.kind].partition(".")
        number = f"-{seen[one.kind]}" if seen[one.kind] > 1 else ""
        found.append((f"{stem}{number}{dot}{suffix}", one.size, one.digest))
    return found


def _kind_of(file: str) -> str:
    """What a file was as a layer."""
    stem, dot, suffix = file.partition(".")
    plain = f"{stem.rpartition('-')[0] or stem}{dot}{suffix}"
    return next((kind for kind, name in _NAMES.items() if name in (file, plain)), "")

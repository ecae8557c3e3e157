"""The hub: whether it answers, which files a repository has, and what its refusals mean.

Whatever it answers is checked before use; its answers are read up to a limit.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote, urlencode

from ..digests import Digest, checked_commit, checked_digest
from ..errors import (
    GatedModel,
    HubFailed,
    MalformedAnswer,
    ModelNotFound,
    OfflineMode,
    RegistryError,
    RevisionNotFound,
    SourceUnreachable,
    Unauthorized,
)
from ..manifest import checked_name
from ..plan import Gated
from ..settings import RegistrySettings
from .reach import note_unreachable, why_unreachable
from .web import Response, stream

MAX_ANSWER = 16 << 20  # repositories of ten thousand files have a listing of three
MAX_VALUES = 1_000_000  # each takes a hundred bytes or so, once it is read
MAX_SECONDS = 60.0
NO_SUCH_RANGE = 416
_SEARCHED = ("downloads", "tags", "gated", "config", "safetensors", "gguf")
PASSING = frozenset({408, NO_SUCH_RANGE, 425, 429, 500, 502, 503, 504})  # what may be better a moment later


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a commit, named by the hub's own checksum of it."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listing:
    """What one commit of a repository holds. `stated` is what the hub says of each file, still unchecked."""

    repo: str
    commit: str
    stated: Mapping[str, object]
    licence: str | None = None
    gated: Gated = "no"

    def names(self) -> list[str]:
        return list(self.stated)

    def file(self, name: str) -> RemoteFile:
        """That file, checked. Raises `MalformedAnswer`."""
        stated = _object(self.repo, self.stated[name])
        lfs = stated.get("lfs")
        large = _object(self.repo, lfs) if lfs else None
        size = large.get("size") if large else stated.get("size")
        if type(size) is not int or size < 0:
            raise MalformedAnswer(self.repo, f"size of {name!r}", str(size))
        digest = (
            checked_digest(self.repo, "sha256", large.get("sha256") or large.get("oid"))
            if large
            else checked_digest(self.repo, "git", stated.get("blobId") or stated.get("oid"))
        )
        return RemoteFile(_sound_name(self.repo, name), size, digest)


class Hub:
    """The hub at `settings.endpoint`."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings

    def listing(self, repo: str, revision: str | None) -> Listing:
        """The files of a repository at a revision, its newest where that is None."""
        self.check_reach(repo)
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        address = f"{self._settings.endpoint}/api/models/{repo}{at}?blobs=true"
        for wait in self._settings.waits[:2]:
            try:
                return _listing(repo, self._json(repo, revision, address))
            except HubFailed as failure:
                if failure.status not in PASSING:
                    raise
                time.sleep(failure.pause(wait))
        return _listing(repo, self._json(repo, revision, address))

    def search(self, words: str, limit: int) -> list[Mapping[str, object]]:
        """What the hub says of up to `limit` repositories of models that match, the most fetched first; unchecked."""
        self.check_reach(words)
        asked = [("search", words), ("limit", str(limit)), ("sort", "downloads"), ("direction", "-1")]
        query = urlencode([*asked, *(("expand[]", field) for field in _SEARCHED)])
        body = self._patient_body(words, None, f"{self._settings.endpoint}/api/models?{query}")
        found = _json_of(self.place, body)
        if not isinstance(found, list):
            raise MalformedAnswer(self.place, "list of models", str(found))
        return [_object(self.place, one) for one in found]

    def check_access(self, repo: str) -> None:
        """Raises `GatedModel` where the owner has not let the user in. A hub that does not say is no obstacle."""
        try:
            self._json(repo, None, f"{self._settings.endpoint}/api/models/{repo}/auth-check")
        except GatedModel:
            raise
        except RegistryError:
            return

    def check_reach(self, name: str) -> None:
        """Raises `OfflineMode` or `SourceUnreachable`, within seconds."""
        if self._settings.offline:
            raise OfflineMode(name)
        if reason := why_unreachable(self._settings.endpoint, self._settings.patience):
            raise SourceUnreachable(self.place, reason)

    def address(self, repo: str, commit: str, name: str) -> str:
        """Where the bytes of a file are."""
        return f"{self._settings.endpoint}/{repo}/resolve/{commit}/{quote(name)}"

    def headers(self) -> dict[str, str]:
        """Who asks, and that the bytes shall come as they are."""
        token = {"Authorization": f"Bearer {self._settings.token}"} if self._settings.token else {}
        return {"User-Agent": "unillm", "Accept-Encoding": "identity", **token}

    @contextmanager
    def answer(
        self,
        name: str,
        revision: str | None,
        address: str,
        headers: Mapping[str, str] | None = None,
        *,
        stall: float | None = None,
    ) -> Iterator[Response]:
        """A good answer, its body still to be read. Raises what the hub's refusal means, or `SourceUnreachable`.

        `stall` is how many seconds may pass without a byte; a download is given more of them than a listing.
        """
        seconds = stall or self._settings.patience * 6
        with stream(name, self.place, address, {**self.headers(), **(headers or {})}, seconds) as response:
            if response.status_code >= 400:
                raise self._refusal(name, revision, response.status_code, response.headers)
            yield response

    @property
    def place(self) -> str:
        return f"the hub at {self._settings.endpoint}"

    def _refusal(self, repo: str, revision: str | None, status: int, headers: Mapping[str, str]) -> RegistryError:
        logged_in = self._settings.token is not None
        match headers.get("X-Error-Code"), status:
            case "GatedRepo", _:
                return GatedModel(repo, f"{self._settings.endpoint}/{repo}", logged_in=logged_in)
            case "RevisionNotFound", _:
                return RevisionNotFound(repo, revision or "main")
            case _, 401 | 403:
                return Unauthorized(repo, logged_in=logged_in)
            case _, 404:
                return ModelNotFound(repo, where=f"at {self._settings.endpoint}")
            case _:
                return HubFailed(self.place, status, headers.get("Retry-After"))

    def _json(self, repo: str, revision: str | None, address: str) -> Mapping[str, object]:
        return _parsed(self.place, self._patient_body(repo, revision, address))

    def _patient_body(self, repo: str, revision: str | None, address: str) -> bytes:
        """The whole answer. A hub that lets us wait in vain is remembered as out of reach."""
        began = time.monotonic()
        try:
            return self._body(repo, revision, address)
        except SourceUnreachable as error:
            if time.monotonic() - began >= self._settings.patience:  # nobody else need wait as long
                note_unreachable(self._settings.endpoint, error.reason)
            raise

    def _body(self, repo: str, revision: str | None, address: str) -> bytes:
        body, began = bytearray(), time.monotonic()
        with self.answer(repo, revision, address, stall=self._settings.patience) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise MalformedAnswer(address, "answer", f"more than {MAX_ANSWER} bytes")
                if time.monotonic() - began > MAX_SECONDS:
                    raise SourceUnreachable(self.place, f"its answer takes longer than {MAX_SECONDS:g} seconds")
        return bytes(body)


def _parsed(source: str, body: bytes) -> Mapping[str, object]:
    found = _json_of(source, body)
    try:
        return _object(source, found)
    except MalformedAnswer as error:
        raise _not_a_hub(source, body) from error


def _json_of(source: str, body: bytes) -> object:
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise MalformedAnswer(source, "answer", f"more than {MAX_VALUES} values")
    try:
        return json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise _not_a_hub(source, body) from error


def _not_a_hub(source: str, body: bytes) -> SourceUnreachable:
    return SourceUnreachable(source, f"it answers with something else than a hub does: {body[:60]!r}")


def _listing(repo: str, answer: Mapping[str, object]) -> Listing:
    siblings = answer.get("siblings")
    if not isinstance(siblings, list):
        raise MalformedAnswer(repo, "list of files", str(siblings))
    files = [_object(repo, one) for one in siblings]
    twice = [name for name, count in Counter(str(one.get("rfilename")) for one in files).items() if count > 1]
    if twice:
        raise MalformedAnswer(repo, "list of files, which has one of them twice", twice[0])
    gated = answer.get("gated")
    return Listing(
        repo=repo,
        commit=checked_commit(repo, answer.get("sha")),
        stated={str(one.get("rfilename")): one for one in files},
        licence=licence_of(answer.get("tags")),
        gated="no" if not gated else "auto" if gated == "auto" else "manual",
    )


def licence_of(tags: object) -> str | None:
    """The licence among a repository's tags."""
    words = [str(tag) for tag in tags] if isinstance(tags, list) else []
    return next((word.removeprefix("license:")[:80] for word in words if word.startswith("license:")), None)


def _object(source: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise MalformedAnswer(source, "answer", str(value))
    return cast(Mapping[str, object], value)


def _sound_name(source: str, name: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        raise MalformedAnswer(source, "file name", name) from error

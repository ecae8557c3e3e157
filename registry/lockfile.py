"""A lock file: which models, to the byte, so that another machine, or this one later, has exactly the same.

    {"schema": 1, "models": [{"name", "origin": {"repo", "commit"}, "files": [{"name", "size", "sha256" ...}] ...}]}

A model in it is a manifest without what is true of one machine alone. A lock file is data from anywhere, and goes
through the manifest's own checks.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .aliases import Catalogue
from .digests import Digest, hash_file
from .errors import ChecksumMismatch, FileMissing, LockFileError, NotLockable, RegistryError
from .events import Listener, Notice, Verifying, nobody
from .formats.reader import open_regular
from .manifest import HubOrigin, Manifest, ManifestUnreadable, PackageOrigin, RegistryOrigin, from_json, to_json
from .offers import PackageOffer
from .plan import Plan
from .pull import fulfil
from .settings import RegistrySettings
from .shelf import Entry, Shelf
from .sources.huggingface import HuggingFace
from .sources.ollama_registry import OllamaRegistry
from .sources.package_index import PackageIndex
from .store import write_whole

NAME = "unillm.lock"
SCHEMA = 1
MAX_BYTES = 64 << 20
_LOCKABLE = (HubOrigin, PackageOrigin, RegistryOrigin)
_OF_ONE_MACHINE = ("schema", "pulled", "details")


@dataclass(frozen=True, slots=True)
class Locked:
    """One model of a lock file, and the sha256 of each of its files."""

    manifest: Manifest
    sha256: tuple[Digest, ...]


# Writing


def lock(entries: Sequence[Entry], file: Path, listener: Listener = nobody) -> None:
    """Write down what these models are. Raises `NotLockable` for one that only this machine has."""
    models = [_written(entry, listener) for entry in entries]
    content = json.dumps({"schema": SCHEMA, "models": models}, indent=1, ensure_ascii=False)
    write_whole(file.absolute(), content.encode() + b"\n")


def is_lockable(entry: Entry) -> bool:
    """Whether another machine could have it: from the hub, or from the package index."""
    return entry.manifest is not None and isinstance(entry.manifest.origin, _LOCKABLE)


def _written(entry: Entry, listener: Listener) -> dict[str, Any]:
    manifest = entry.sound
    if not is_lockable(entry):
        raise NotLockable(entry.name, str(manifest.origin))
    content: dict[str, Any] = json.loads(to_json(manifest))
    for field in _OF_ONE_MACHINE:
        del content[field]
    for field in ("cache", "endpoint"):
        content["origin"].pop(field, None)
    for written, one in zip(content["files"], manifest.files, strict=True):
        del written["fetched"], written["modified"]
        listener(Verifying(one.name))
        written["sha256"] = _sha256(entry, entry.place(one), one.digest).hex
    return content


def _sha256(entry: Entry, path: Path, digest: Digest) -> Digest:
    if not path.is_file():
        raise FileMissing(entry.name, path)
    hasher = hash_file(path)
    if hasher.like(digest) != digest:
        again = f"fetch it again: unillm pull {entry.name}"
        raise ChecksumMismatch(f"{entry.name}: {path}", str(digest), str(hasher.like(digest)), hint=again)
    return hasher.sha256


# Reading


def read_lock(file: Path, settings: RegistrySettings) -> list[Locked]:
    """The models of a lock file, as they would be on this machine. Raises `LockFileError`."""
    if not file.exists():
        raise LockFileError(file, "there is no such file")
    with os.fdopen(open_regular(file), "rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    try:
        content = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise LockFileError(file, f"is not JSON: {error}") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(content.get("schema")) is not int or not isinstance(models, list):
        raise LockFileError(file, "is not a lock file")
    if content["schema"] > SCHEMA:
        raise LockFileError(file, f"was made by a newer unillm (schema {content['schema']})")
    return [_locked(file, one, settings) for one in models]


def _locked(file: Path, content: Any, settings: RegistrySettings) -> Locked:
    """One model, checked as a manifest is."""
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    try:
        model: dict[str, Any] = dict(content)
        origin = {**model["origin"], "endpoint": settings.endpoint, "cache": str(settings.cache_dir)}
        if origin.get("kind") == "registry":
            origin["endpoint"] = settings.ollama_registry
        model |= {"schema": 1, "pulled": now, "details": {}, "origin": origin}
        model["files"] = [{**one, "fetched": False, "modified": 0} for one in model["files"]]
        sums = tuple(Digest("sha256", one["sha256"]) for one in model["files"])
        manifest = from_json(json.dumps(model).encode())
    except (ManifestUnreadable, KeyError, TypeError, ValueError) as error:
        raise LockFileError(file, f"one of its models cannot be read: {error}") from error
    if not isinstance(manifest.origin, _LOCKABLE):
        raise LockFileError(file, f"{manifest.ref} comes from {manifest.origin}, which is not here")
    return Locked(manifest, sums)


# Restoring


def sync(locked: Locked, settings: RegistrySettings, listener: Listener = nobody) -> Entry:
    """Have exactly that model on the shelf: fetched where something is missing, in place of any other of its name."""
    shelf, wanted = Shelf(settings), locked.manifest
    if (entry := shelf.find(wanted.ref)) and entry.manifest and _is_same(entry.manifest, wanted):
        try:
            shelf.ready(entry, listener)
        except RegistryError as error:
            listener(Notice(str(error)))
        else:
            listener(Notice(f"{entry.name} is here already"))
            return entry
    planned = _planned(wanted, settings)
    return fulfil(planned, settings, listener, additions=wanted, accept=lambda: _check(locked, planned))


def _is_same(here: Manifest, wanted: Manifest) -> bool:
    return here.id == wanted.id and str(here.origin) == str(wanted.origin) and here.terms == wanted.terms


def _planned(wanted: Manifest, settings: RegistrySettings) -> Plan:
    if isinstance(wanted.origin, HubOrigin):
        return HuggingFace(settings).plan_exactly(wanted, wanted.origin)
    if isinstance(wanted.origin, RegistryOrigin):
        return OllamaRegistry(settings).plan_exactly(wanted, wanted.origin)
    files = {(one.name, one.digest.hex) for one in wanted.files}
    for source in (source for row in Catalogue.read(settings.aliases) for source in row.sources):
        if {(one.name, one.sha256) for one in source.files} == files:
            return PackageIndex(settings).plan(wanted.ref, PackageOffer(source, wanted.reason))
    raise NotLockable(str(wanted.ref), f"{wanted.origin}, which the catalogue of this unillm does not have")


def _check(locked: Locked, planned: Plan) -> None:
    """The hub names small files by a weaker checksum; the lock file has the strong one of all."""
    paths = {one.name: one.path for one in planned.files}
    for one, want in zip(locked.manifest.files, locked.sha256, strict=True):
        if one.digest.kind == "sha256" and one.digest != want:
            raise ChecksumMismatch(one.name, str(want), str(one.digest), hint="the lock file contradicts itself")
        if one.digest.kind != "sha256" and (got := hash_file(paths[one.name]).sha256) != want:
            raise ChecksumMismatch(one.name, str(want), str(got), hint="it is not the file that was locked")

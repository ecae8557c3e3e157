"""The shelf as commands see it: found by what the user typed, and told as data."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from ..registry.amounts import count_text
from ..registry.finding import find_installed, not_installed
from ..registry.manifest import (
    ArchiveOrigin,
    HubOrigin,
    Manifest,
    PackageOrigin,
    PlaceOrigin,
    RegistryOrigin,
    ShelvedFile,
)
from ..registry.names import ModelRef
from ..registry.settings import RegistrySettings
from ..registry.shelf import Entry, Shelf
from .session import Session


@dataclass(frozen=True, slots=True)
class Installed:
    """The shelf of this session, and the settings that say where it is."""

    settings: RegistrySettings
    shelf: Shelf

    @classmethod
    def of(cls, session: Session, **flags: object) -> Self:
        settings = RegistrySettings.from_environment(session.settings(**flags).environment)
        return cls(settings, Shelf(settings))

    def need(self, text: str) -> Entry:
        """The model that is called so. Raises `NotInstalled`, with near names."""
        ref = ModelRef.parse(text)
        entry = find_installed(ref, self.shelf, self.settings)
        if entry is None:
            raise not_installed(text, self.shelf, self.settings)
        return entry


def as_data(entry: Entry) -> dict[str, Any]:
    """A model in the words of Ollama's API, and what that has no word for."""
    manifest = entry.manifest
    if manifest is None:
        return {"name": entry.name, "broken": str(entry.broken)}
    details = manifest.details
    return {
        "name": entry.name,
        "id": manifest.id[:12],
        "digest": manifest.id,
        "size": manifest.size,
        "modified_at": _moment(manifest.pulled),
        "details": {
            "format": manifest.format,
            "family": details.architecture,
            "parameter_size": count_text(details.parameters) if details.parameters else None,
            "quantization_level": details.quantisation,
        },
        "context_length": details.context,
        "parameter_count": details.parameters,
        "variant": manifest.variant,
        "reason": manifest.reason,
        "license": manifest.licence,
        "source": source_as_data(manifest),
    }


def source_as_data(manifest: Manifest) -> dict[str, Any]:
    match manifest.origin:
        case HubOrigin(repo, commit, endpoint, cache, revision):
            place = {"repo": repo, "commit": commit, "revision": revision, "endpoint": endpoint, "cache": str(cache)}
            return {"kind": "hub", **place}
        case PackageOrigin(packages):
            return {"kind": "package_index", "packages": list(packages)}
        case RegistryOrigin(endpoint, name, tag, said):
            return {"kind": "registry", "name": name, "tag": tag, "manifest": str(said), "endpoint": endpoint}
        case PlaceOrigin(folder):
            return {"kind": "place", "folder": str(folder)}
        case ArchiveOrigin(of):
            return {"kind": "archive", "of": of}


def files_as_data(entry: Entry) -> list[dict[str, Any]]:
    return [_file_as_data(entry, one) for one in entry.sound.files]


def _file_as_data(entry: Entry, file: ShelvedFile) -> dict[str, Any]:
    place = str(entry.place(file))
    return {"name": file.name, "size": file.size, "digest": str(file.digest), "weights": file.weights, "path": place}


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""What the shelf remembers of one model: where it came from, which files it is, and the user's own additions.

A manifest is data that somebody may have edited: every field is checked as it is read, and no field of it is a path
that we would delete.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

from .digests import Digest
from .errors import InvalidName
from .files import ROLES, Message
from .formats.sniff import Format
from .names import DEFAULT_TAG, Kind, ModelRef

SCHEMA = 1
MAX_BYTES = 16 << 20
_TOO_MANY = 1 << 63
_DRIVE = re.compile(r"[A-Za-z]:")
Json: TypeAlias = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """One commit of a repository of the hub. Its files lie in the Hugging Face cache `cache`."""

    repo: str
    commit: str
    endpoint: str
    cache: Path
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"


@dataclass(frozen=True, slots=True)
class PackageOrigin:
    """Packages of the Python package index. The files lie in our own store."""

    packages: tuple[str, ...]

    def __str__(self) -> str:
        first, *others = self.packages
        return f"{first} and {len(others)} more packages" if others else first


@dataclass(frozen=True, slots=True)
class RegistryOrigin:
    """A model of Ollama's registry, `manifest` the checksum of what it says there. The files lie in our own store."""

    endpoint: str
    name: str
    tag: str
    manifest: Digest

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}@{self.manifest}"


@dataclass(frozen=True, slots=True)
class PlaceOrigin:
    """A folder of the user's. The files stay where they are."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True, slots=True)
class ArchiveOrigin:
    """An archive that somebody exported. The files lie in our own store; `of` is where they came from before."""

    of: str

    def __str__(self) -> str:
        return f"an archive of {self.of}"


Origin: TypeAlias = HubOrigin | PackageOrigin | RegistryOrigin | PlaceOrigin | ArchiveOrigin


@dataclass(frozen=True, slots=True)
class ShelvedFile:
    """One file. `modified` is its time stamp (ns) when its checksum was last found right.

    `fetched` says that it is here because of us: removing the model may remove it.
    """

    name: str
    size: int
    digest: Digest
    weights: bool = False
    fetched: bool = False
    modified: int = 0


@dataclass(frozen=True, slots=True)
class Details:
    """What the files say of the model, kept so that nobody reads them again to show it."""

    architecture: str | None = None
    parameters: int | None = None
    context: int | None = None
    quantisation: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One installed model. `terms` is the text of a licence that the user has put on it."""

    ref: ModelRef
    origin: Origin
    format: Format
    variant: str
    reason: str
    files: tuple[ShelvedFile, ...]
    pulled: datetime
    licence: str | None = None
    details: Details = field(default_factory=Details)
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: tuple[Message, ...] = ()
    terms: str | None = None

    def with_additions_of(self, other: "Manifest") -> "Manifest":
        """The same model with what the user has added to the other."""
        return replace(
            self,
            template=other.template,
            parameters=other.parameters,
            system=other.system,
            messages=other.messages,
            terms=other.terms,
        )

    @property
    def id(self) -> str:
        """What the model consists of, in one checksum: a second name for it has the same."""
        parts = [*(f"{one.digest} {one.name}" for one in self.files), self.template, self.system]
        said = [[one.role, one.content] for one in self.messages]
        content = json.dumps([*parts, dict(self.parameters), *said], sort_keys=True)
        return sha256(content.encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum({one.digest: one.size for one in self.files}.values())


class ManifestUnreadable(Exception):
    """Why a manifest is not one; whoever knows its file makes a `BrokenManifest` of it."""


def to_json(manifest: Manifest) -> bytes:
    """The manifest as it is written, for people to read too."""
    content = {
        "schema": SCHEMA,
        "name": str(manifest.ref),
        "origin": _origin_to_json(manifest.origin),
        "format": manifest.format,
        "variant": manifest.variant,
        "reason": manifest.reason,
        "licence": manifest.licence,
        "pulled": manifest.pulled.astimezone(UTC).isoformat(timespec="seconds"),
        "details": {name: getattr(manifest.details, name) for name in Details.__dataclass_fields__},
        "template": manifest.template,
        "parameters": dict(manifest.parameters),
        "system": manifest.system,
        "messages": [{"role": one.role, "content": one.content} for one in manifest.messages],
        "terms": manifest.terms,
        "files": [_file_to_json(one) for one in manifest.files],
    }
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def from_json(data: bytes) -> Manifest:
    """The manifest that `data` holds. Raises `ManifestUnreadable`."""
    if len(data) > MAX_BYTES:
        raise ManifestUnreadable(f"is larger than {MAX_BYTES} bytes")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestUnreadable(f"is not JSON: {error}") from error
    fields = _Fields("manifest", content)
    schema = fields.need("schema", int)
    if schema > SCHEMA:
        raise ManifestUnreadable(f"was made by a newer unillm (schema {schema}; this one knows {SCHEMA})")
    try:
        return _read(fields)
    except (ValueError, OverflowError, InvalidName) as error:
        raise ManifestUnreadable(str(error)) from error


def _read(fields: "_Fields") -> Manifest:
    ref = ModelRef.parse(fields.need("name", str))
    if ref.kind not in (Kind.SHORT, Kind.REPO, Kind.REGISTRY):
        raise ManifestUnreadable(f"{ref} is not a name")
    details = _Fields("details", fields.need("details", dict))
    return Manifest(
        ref=ref,
        origin=_origin_from_json(_Fields("origin", fields.need("origin", dict))),
        format=_format(fields.need("format", str)),
        variant=fields.need("variant", str),
        reason=fields.need("reason", str),
        licence=fields.take("licence", str),
        pulled=datetime.fromisoformat(fields.need("pulled", str)).astimezone(UTC),
        details=Details(
            architecture=details.take("architecture", str),
            parameters=_count(details.take("parameters", int)),
            context=_count(details.take("context", int)),
            quantisation=details.take("quantisation", str),
            chat_template=details.take("chat_template", str),
        ),
        template=fields.take("template", str),
        parameters=_parameters(fields.need("parameters", dict)),
        system=fields.take("system", str),
        messages=tuple(_message(_Fields("message", one)) for one in fields.take("messages", list) or ()),
        terms=fields.take("terms", str),
        files=_files(fields.need("files", list)),
    )


def _origin_to_json(origin: Origin) -> Json:
    match origin:
        case HubOrigin():
            return {
                "kind": "hub",
                "repo": origin.repo,
                "commit": origin.commit,
                "revision": origin.revision,
                "endpoint": origin.endpoint,
                "cache": str(origin.cache),
            }
        case PackageOrigin():
            return {"kind": "package_index", "packages": list(origin.packages)}
        case RegistryOrigin(endpoint, name, tag, manifest):
            return {"kind": "registry", "name": name, "tag": tag, "manifest": str(manifest), "endpoint": endpoint}
        case PlaceOrigin():
            return {"kind": "place", "folder": str(origin.folder)}
        case ArchiveOrigin():
            return {"kind": "archive", "of": origin.of}


def _origin_from_json(fields: "_Fields") -> Origin:
    match fields.need("kind", str):
        case "hub":
            return _hub_origin(fields)
        case "package_index":
            packages = fields.need("packages", list)
            if not packages or not all(isinstance(one, str) for one in packages):
                raise ManifestUnreadable("origin: packages is not a list of names")
            return PackageOrigin(tuple(packages))
        case "registry":
            return _registry_origin(fields)
        case "place":
            return PlaceOrigin(_absolute(fields.need("folder", str)))
        case "archive":
            return ArchiveOrigin(fields.need("of", str))
        case other:
            raise ManifestUnreadable(f"origin: {other!r} is not a kind of source")


def _hub_origin(fields: "_Fields") -> HubOrigin:
    ref = ModelRef.parse(fields.need("repo", str))
    if ref.kind is not Kind.REPO or ref.revision or ref.quant:
        raise ManifestUnreadable(f"origin: {ref} is not a repository")
    return HubOrigin(
        repo=ref.name,
        commit=Digest("git", fields.need("commit", str)).hex,
        revision=fields.take("revision", str),
        endpoint=fields.need("endpoint", str),
        cache=_absolute(fields.need("cache", str)),
    )


def _registry_origin(fields: "_Fields") -> RegistryOrigin:
    ref = ModelRef.parse(f"ollama.com/{fields.need('name', str)}:{fields.need('tag', str)}")
    return RegistryOrigin(
        endpoint=fields.need("endpoint", str),
        name=ref.name,
        tag=ref.tag or DEFAULT_TAG,
        manifest=Digest.parse(fields.need("manifest", str)),
    )


def _parameters(found: Mapping[str, object]) -> Mapping[str, Any]:
    """Numbers, texts and lists of texts; which values are good is for whoever samples to say."""
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str if isinstance(value, list) else str | int | float) for one in values):
            raise ManifestUnreadable(f"parameters: {name} is neither a number nor text")
    if type(found.get("context", 1)) is not int:
        raise ManifestUnreadable("parameters: context is not a whole number")
    return found


def _message(fields: "_Fields") -> Message:
    role = fields.need("role", str)
    if role not in ROLES:
        raise ManifestUnreadable(f"message: {role!r} is not a role")
    return Message(role, fields.need("content", str))


def _file_to_json(file: ShelvedFile) -> Json:
    return {
        "name": file.name,
        "size": file.size,
        "digest": str(file.digest),
        "weights": file.weights,
        "fetched": file.fetched,
        "modified": file.modified,
    }


def _files(values: Sequence[object]) -> tuple[ShelvedFile, ...]:
    files = tuple(_file(_Fields("file", value)) for value in values)
    if not any(one.weights for one in files):
        raise ManifestUnreadable("names no weights")
    if len({one.name.lower() for one in files}) != len(files):
        raise ManifestUnreadable("names a file twice")
    return files


def _file(fields: "_Fields") -> ShelvedFile:
    size = fields.need("size", int)
    if not 0 <= size < _TOO_MANY:
        raise ManifestUnreadable("file: size is " + ("below zero" if size < 0 else "beyond all files"))
    return ShelvedFile(
        name=checked_name(fields.need("name", str)),
        size=size,
        digest=Digest.parse(fields.need("digest", str)),
        weights=fields.need("weights", bool),
        fetched=fields.need("fetched", bool),
        modified=fields.need("modified", int),
    )


def _count(number: int | None) -> int | None:
    if number is not None and not 0 <= number < _TOO_MANY:
        raise ManifestUnreadable("details: a count is below zero, or beyond all counting")
    return number


@lru_cache(maxsize=4096)  # a shelf of thousands has the same few names in every model
def checked_name(name: str) -> str:
    """A file name that stays in its folder on every platform. Raises `ValueError`."""
    parts = name.split("/")
    sound = (
        len(name) <= 250
        and name.isprintable()
        and len(parts) <= 8
        and "\\" not in name
        and not _DRIVE.match(name)
        and all(part and not part.endswith((".", " ")) for part in parts)
    )
    if not sound:
        raise ValueError(f"{name[:120]!r} is not the name of a file in a repository")
    return name


def _format(text: str) -> Format:
    formats: dict[str, Format] = {"safetensors": "safetensors", "gguf": "gguf", "pytorch": "pytorch"}
    if text not in formats:
        raise ManifestUnreadable(f"{text!r} is not a format of weights")
    return formats[text]


def _absolute(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise ManifestUnreadable(f"{text!r} is not an absolute path")
    return path


class _Fields:
    """An object of JSON whose fields have the types that are asked for."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ManifestUnreadable(f"{where} is not an object")
        self._where, self._fields = where, cast("Mapping[str, Any]", value)

    def take(self, name: str, kind: type[T]) -> T | None:
        value: T | None = self._fields.get(name)
        if value is None or type(value) is kind:  # JSON makes nothing but the plain types; True is no int
            return value
        return self._refused(name, kind)

    def need(self, name: str, kind: type[T]) -> T:
        value: T | None = self._fields.get(name)
        if value is None:
            raise ManifestUnreadable(f"{self._where}: {name} is missing")
        return value if type(value) is kind else self._refused(name, kind)

    def _refused(self, name: str, kind: type[T]) -> NoReturn:
        raise ManifestUnreadable(f"{self._where}: {name} is not of type {kind.__name__}")

"""Looking for models by words: in the catalogue, which is always here, and on the hub.

What the hub says is taken field by field: one that is not of its kind counts as not said, a name that is none is left
out. Which architectures run is not known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .aliases import Catalogue
from .errors import InvalidName
from .formats.sniff import Format
from .names import Kind, ModelRef
from .plan import Gated
from .rows import Row
from .settings import RegistrySettings
from .sources.hub import Hub, licence_of

Where: TypeAlias = Literal["catalogue", "hub"]
_FORMATS: tuple[Format, ...] = ("gguf", "safetensors", "pytorch")
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that `unillm pull` would fetch by `name`. None: nobody says. Sizes are in bytes, and about."""

    name: str
    where: Where
    repo: str
    format: Format | None = None
    architecture: str | None = None
    parameters: int | None = None
    size: int | None = None
    downloads: int | None = None
    licence: str | None = None
    gated: Gated = "no"


def search_catalogue(query: str, settings: RegistrySettings) -> list[Candidate]:
    """The rows in which every word of `query` occurs. Asks nobody."""
    words = query.lower().split()
    return [_of_row(row) for row in Catalogue.read(settings.aliases) if all(word in _text_of(row) for word in words)]


def search_hub(query: str, settings: RegistrySettings, limit: int) -> list[Candidate]:
    """What the hub finds, the most fetched first. Raises `OfflineMode` or `SourceUnreachable`."""
    return list(_candidates(Hub(settings).search(query, limit)))


def joined(catalogue: list[Candidate], hub: list[Candidate]) -> list[Candidate]:
    """Both, the catalogue's first; a repository that has a short name is told of once, with what the hub counted."""
    there = {one.repo: one for one in hub}
    known = [replace(one, downloads=there[one.repo].downloads) if one.repo in there else one for one in catalogue]
    short = {one.repo for one in catalogue}
    return [*known, *(one for one in hub if one.repo not in short)]


def _text_of(row: Row) -> str:
    return " ".join(filter(None, (str(row.ref), row.original, row.gguf, row.architecture, *row.also))).lower()


def _of_row(row: Row) -> Candidate:
    return Candidate(
        name=str(row.ref),
        where="catalogue",
        repo=row.original or row.gguf or "",
        format="safetensors" if row.original else "gguf",
        architecture=row.architecture,
        parameters=row.parameters,
        size=row.gguf_size or row.original_size,
        licence=row.licence,
        gated=row.gated,
    )


def _candidates(found: list[Mapping[str, object]]) -> Iterator[Candidate]:
    for one in found:
        name = one.get("id")
        try:
            ref = ModelRef.parse(name) if isinstance(name, str) else None
        except InvalidName:
            continue
        if ref is not None and ref.kind is Kind.REPO and ref.name == name:
            yield _of_hub(ref.name, one)


def _of_hub(repo: str, said: Mapping[str, object]) -> Candidate:
    tags, config, gguf = said.get("tags"), _table(said.get("config")), _table(said.get("gguf"))
    weights = _table(_table(said.get("safetensors")).get("parameters"))
    named = config.get("architectures")
    counts = {kind: count for kind, value in weights.items() if (count := _count(value))}
    kind: Format | None = "gguf" if gguf else next((one for one in _FORMATS if _has(tags, one)), None)
    return Candidate(
        name=repo,
        where="hub",
        repo=repo,
        format=kind,
        architecture=_word(gguf.get("architecture") if gguf else _first(named)),
        parameters=_count(gguf.get("total")) or sum(counts.values()) or None,
        size=sum(count * _BYTES.get(kind, 1) for kind, count in counts.items()) or None,
        downloads=_count(said.get("downloads")),
        licence=licence_of(tags),
        gated=_gating(said.get("gated")),
    )


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _has(tags: object, word: str) -> bool:
    return isinstance(tags, list) and word in tags


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _word(value: object) -> str | None:
    return value[:_LONGEST] if isinstance(value, str) else None


def _gating(value: object) -> Gated:
    return "no" if not value else "auto" if value == "auto" else "manual"

"""The catalogue: what a short name stands for, and which names are near one that it does not have.

It is data (`aliases.toml`, and the user's own file on top, key by key). It knows neither the hub nor the disk: a row
says where files should be, not that they are.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Self

from .errors import AliasFileError, InvalidName
from .names import DEFAULT_TAG, Kind, ModelRef
from .rows import Row, Table, read_row, read_table
from .variants import Wanted, split_quantisation

BUILT_IN = Path(__file__).with_name("aliases.toml")
_CHAT_WORDS = ("instruct", "chat", "it")


@dataclass(frozen=True, slots=True)
class Match:
    """The row that a name stands for, and the variant that its tag asks for."""

    row: Row
    wanted: Wanted


class Catalogue:
    """Every short name that can be fetched."""

    def __init__(self, rows: Mapping[str, Mapping[str, Row]], others: Mapping[str, str]) -> None:
        self._rows, self._others = rows, others

    @classmethod
    def read(cls, own: Path | None = None) -> Self:
        """The built-in rows, with those of the user's `own` file over them."""
        tables, others = _read_file(BUILT_IN)
        if own is not None and own.is_file():
            own_tables, own_others = _read_file(own)
            tables = _laid_over(tables, own_tables)
            others |= own_others
        rows = {
            name: {tag: read_row(own or BUILT_IN, name, tag, table) for tag, table in tags.items()}
            for name, tags in tables.items()
        }
        return cls(rows, others)

    def __iter__(self) -> Iterator[Row]:
        return (row for tags in self._rows.values() for row in tags.values())

    def names(self) -> list[str]:
        """Every name that is worth completing."""
        return sorted([*(str(row.ref) for row in self), *self._others])

    def followed(self, ref: ModelRef) -> ModelRef:
        """What `ref` stands for, where the user has made it a name for something else."""
        other = self._others.get(str(ref)) if ref.kind is Kind.SHORT else None
        return ModelRef.parse(other) if other else ref

    def canonical(self, ref: ModelRef) -> ModelRef:
        """The name under which `ref` is kept: its other name looked up, its default tag written out."""
        ref = self.followed(ref)
        if ref.kind is not Kind.SHORT or ref.tag not in (None, DEFAULT_TAG):
            return ref
        row = self._default(ref.name)
        return ref.with_tag(row.tag if row else DEFAULT_TAG)

    def find(self, ref: ModelRef) -> Match | None:
        """What `ref` stands for, or None where the catalogue has no such name."""
        ref = self.followed(ref)
        if ref.kind is not Kind.SHORT or ref.name not in self._rows:
            return None
        tag = ref.tag or DEFAULT_TAG
        if row := self._row(ref.name, tag):
            return Match(row, Wanted())
        base, wanted = split_quantisation(tag)
        row = self._row(ref.name, base or DEFAULT_TAG)
        return Match(row, wanted) if row else None

    def near(self, text: str, also: tuple[str, ...] = ()) -> list[str]:
        """Up to three names that the user may have meant."""
        name = text.partition(":")[0].lower()
        if name in self._rows:
            return [f"{name}:{tag}" for tag in self._rows[name]][:3]
        asked = _letters(text)
        names = {*self.names(), *self._rows, *also}
        scores = {name: SequenceMatcher(None, asked, _letters(name)).ratio() for name in names}
        good = sorted(
            (name for name in names if scores[name] >= 0.7), key=lambda name: (-scores[name], len(name), name)
        )
        return _without_repeats(good)[:3]

    def near_repositories(self, repo: str) -> list[str]:
        """Repositories of the catalogue whose names are near `repo`."""
        known = {place for row in self for place in (row.original, row.gguf, *row.mirrors) if place}
        asked = repo.lower()
        scores = {name: SequenceMatcher(None, asked, name.lower()).ratio() for name in known}
        return sorted((name for name in known if scores[name] >= 0.8), key=lambda name: -scores[name])[:3]

    def _row(self, name: str, tag: str) -> Row | None:
        if tag == DEFAULT_TAG:
            return self._default(name)
        rows = self._rows.get(name, {})
        return rows.get(tag) or next((row for row in rows.values() if tag in _other_tags(row)), None)

    def _default(self, name: str) -> Row | None:
        rows = list(self._rows.get(name, {}).values())
        return next((row for row in rows if row.default), rows[0] if len(rows) == 1 else None)


def _other_tags(row: Row) -> list[str]:
    """`8b-instruct` is `8b` where the model's makers call it so."""
    makers_word = (row.original or "").lower()
    words = [word for word in _CHAT_WORDS if re.search(rf"[-_]{word}\b", makers_word)]
    return [*row.also, *(f"{tag}-{word}" for tag in (row.tag, *row.also) for word in words), *words * row.default]


def _letters(name: str) -> str:
    """What is compared of a name: its letters and digits, without the words that every other name has too."""
    return re.sub(r"(?<=[-_.])(instruct|chat)\b|[^a-z0-9/]", "", name.lower())


def _without_repeats(names: list[str]) -> list[str]:
    """`tinyllama` says as much as `tinyllama:1.1b`: the better of the two is enough."""
    kept: dict[str, str] = {}
    for name in names:
        if ":" in name and name.partition(":")[0] in kept.values():
            continue
        kept[name] = name
    return list(kept)


def _read_file(path: Path) -> tuple[dict[str, dict[str, Table]], dict[str, str]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise AliasFileError(path, "", str(error)) from error
    tables: dict[str, dict[str, Table]] = {}
    others: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, str):
            others[_short(path, name)] = _target(path, name, value)
            continue
        tags = read_table(path, name, value)
        tables[_short(path, name)] = {tag.lower(): read_table(path, f"{name}.{tag}", row) for tag, row in tags.items()}
    return tables, others


def _laid_over(under: dict[str, dict[str, Table]], over: dict[str, dict[str, Table]]) -> dict[str, dict[str, Table]]:
    """`over` wins key by key. A default tag of its own takes the place of the other default."""
    merged = {name: dict(tags) for name, tags in under.items()}
    for name, tags in over.items():
        known = merged.setdefault(name, {})
        if any(row.get("default") for row in tags.values()):
            known = {tag: {**row, "default": False} for tag, row in known.items()}
        merged[name] = known | {tag: {**known.get(tag, {}), **row} for tag, row in tags.items()}
    return merged


def _short(path: Path, name: str) -> str:
    try:
        ref = ModelRef.parse(name)
    except InvalidName as error:
        raise AliasFileError(path, name, error.reason) from error
    if ref.kind is not Kind.SHORT:
        raise AliasFileError(path, name, "only a short name can stand for something")
    return str(ref)


def _target(path: Path, name: str, value: str) -> str:
    try:
        return str(ModelRef.parse(value))
    except InvalidName as error:
        raise AliasFileError(path, name, str(error)) from error

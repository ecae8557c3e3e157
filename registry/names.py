"""What a model may be called, and what each spelling means.

A name is judged by its letters alone; this file never looks at the disk. A path must look like one (`./dir`, `/dir`,
`dir/`, `file.gguf`), so that `org/repo` is never a folder by accident.

    llama3:8b                              a short name of the catalogue or of the shelf; no tag: the default size
    hf.co/org/repo[@revision][:QUANT]      a repository of the hub, and which quantisation of it
    org/repo[@revision]                    the same
    ./dir  dir/  /dir  ~/dir               a folder
    file.gguf  .safetensors  .bin  .pth    a weight file
    ollama:llama3:8b                       a model in the store of an Ollama on this machine
    ollama.com/library/llama3:8b           a model of Ollama's registry; no tag: latest
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from .errors import InvalidName

MAX_LENGTH = 400
WEIGHT_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pth")
DEFAULT_TAG = "latest"

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_SHORT = re.compile(rf"(?P<name>{_PART})(:(?P<tag>{_PART}))?")
_REPO = re.compile(
    r"(?P<repo>[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})"
    r"(@(?P<revision>[A-Za-z0-9_][\w./-]{0,99}))?"
    r"(:(?P<quant>[A-Za-z0-9_][\w.-]{0,39}))?",
    re.ASCII,
)
_HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/|hf://", re.IGNORECASE)
_OLLAMA = re.compile(rf"ollama:(?P<name>(?:{_PART}/){{0,2}}{_PART})(?::(?P<tag>{_PART}))?", re.IGNORECASE)
_REGISTRY = re.compile(r"(?:https?://)?(?:www\.)?(?:registry\.)?ollama\.(?:com|ai)/", re.IGNORECASE)
_IN_REGISTRY = re.compile(rf"(?:(?P<space>{_PART})/)?(?P<name>{_PART})(?::(?P<tag>{_PART}))?")
_PATH = re.compile(r"[./~]|\.\.|(?:\.{1,2}|~)?/.*|.*/|[A-Za-z]:[\\/].*", re.DOTALL)


class Kind(StrEnum):
    """What a name stands for."""

    SHORT = "short name"
    REPO = "repository"
    FOLDER = "folder"
    FILE = "weight file"
    OLLAMA = "model in Ollama's store"
    REGISTRY = "model of Ollama's registry"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One name, taken apart. Only the fields of its kind are set.

    Short names are kept in lower case, for they are looked up without regard to case.
    """

    kind: Kind
    name: str = ""
    tag: str | None = None
    revision: str | None = None
    quant: str | None = None
    path: Path = Path()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take `text` apart. Raises `InvalidName`, and reads nothing but the text."""
        _check_letters(text)
        if hub := _HUB.match(text):
            return cls._of_repo(text, text[hub.end() :])
        if text.lower().startswith("ollama:"):
            return cls._of_ollama(text)
        if registry := _REGISTRY.match(text):
            return cls._of_registry(text, text[registry.end() :])
        if "://" in text:
            raise InvalidName(text, "the only addresses that name a model are those of hf.co and ollama.com")
        if _PATH.fullmatch(text):
            return cls._of_path(text)
        if text.lower().endswith(WEIGHT_SUFFIXES) and ":" not in text and "\\" not in text:
            return cls(Kind.FILE, path=Path(text))
        return cls._of_repo(text, text) if "/" in text else cls._of_short(text)

    @classmethod
    def _of_path(cls, text: str) -> Self:
        kind = Kind.FILE if text.lower().endswith(WEIGHT_SUFFIXES) else Kind.FOLDER
        return cls(kind, path=Path(text))

    @classmethod
    def _of_repo(cls, text: str, rest: str) -> Self:
        found = _REPO.fullmatch(rest.rstrip("/"))
        if found is None or any(bad in rest for bad in ("..", "--", "//", "./")):
            raise InvalidName(text, "a repository is called org/repo; a path starts with ./ or /")
        quant = found["quant"]
        return cls(Kind.REPO, found["repo"], revision=found["revision"], quant=quant.upper() if quant else None)

    @classmethod
    def _of_ollama(cls, text: str) -> Self:
        found = _OLLAMA.fullmatch(text)
        if found is None or ".." in text:
            raise InvalidName(text, "a model of Ollama's is called ollama:name or ollama:name:tag")
        return cls(Kind.OLLAMA, found["name"], found["tag"] or DEFAULT_TAG)

    @classmethod
    def _of_registry(cls, text: str, rest: str) -> Self:
        found = _IN_REGISTRY.fullmatch(rest.rstrip("/"))
        if found is None or ".." in rest:
            raise InvalidName(text, "a model of Ollama's registry is called ollama.com/library/name:tag")
        return cls(Kind.REGISTRY, f"{found['space'] or 'library'}/{found['name']}", found["tag"] or DEFAULT_TAG)

    @classmethod
    def _of_short(cls, text: str) -> Self:
        found = _SHORT.fullmatch(text)
        if found is None or ".." in text:
            raise InvalidName(text, "a model is called name or name:tag, of letters, digits, '.', '-' and '_'")
        tag = found["tag"]
        return cls(Kind.SHORT, found["name"].lower(), tag.lower() if tag else None)

    @property
    def is_path(self) -> bool:
        return self.kind in (Kind.FOLDER, Kind.FILE)

    def with_tag(self, tag: str) -> Self:
        return replace(self, tag=tag)

    def __str__(self) -> str:
        match self.kind:
            case Kind.SHORT:
                return f"{self.name}:{self.tag}" if self.tag else self.name
            case Kind.OLLAMA:
                return f"ollama:{self.name}:{self.tag}"
            case Kind.REGISTRY:
                return f"ollama.com/{self.name}:{self.tag}"
            case Kind.REPO:
                revision = f"@{self.revision}" if self.revision else ""
                return f"hf.co/{self.name}{revision}:{self.quant}" if self.quant else f"{self.name}{revision}"
            case Kind.FOLDER | Kind.FILE:
                return _as_path(self.path, self.kind)


def _check_letters(text: str) -> None:
    if not text:
        raise InvalidName(text, "it is empty")
    if len(text) > MAX_LENGTH:
        raise InvalidName(text[:40] + "…", f"it is longer than {MAX_LENGTH} letters")
    if not text.isprintable():
        raise InvalidName(text, "it has characters that cannot be printed")
    if text.startswith("-"):
        raise InvalidName(text, "it starts with a dash")


def _as_path(path: Path, kind: Kind) -> str:
    """The path in a spelling that is read as a path again."""
    text = str(path)
    if kind is Kind.FILE or _PATH.fullmatch(text):
        return text
    return f"./{text}"

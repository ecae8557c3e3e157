"""Where the files of one model lie on this machine: what the registry hands to whoever loads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from .errors import FileChanged
from .formats.gguf import GGUFHeader, read_gguf
from .formats.sniff import Format

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """Something said at the beginning of every conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class ModelFiles:
    """One model, ready to load.

    `weights` are the shards in order, all of one `format`; `files` maps every file's name in its repository to where it
    lies ("config.json", "tokenizer.json", "model.safetensors.index.json" ...). `template`, `parameters`, `system`
    and `messages` are the user's own additions from the manifest. `stamps` are of files whose checksums are known.
    """

    name: str
    format: Format
    weights: tuple[Path, ...]
    files: Mapping[str, Path] = field(default_factory=dict)
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: tuple[Message, ...] = ()
    stamps: Mapping[Path, "Stamp"] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def gguf(self) -> GGUFHeader:
        """The header of weights of that format without its vocabulary, read once for all who ask."""
        return read_gguf(self.weights, vocabulary=False)

    def check_unchanged(self) -> None:
        """Raises `FileChanged` where a file is not the one that was found right when this was made.

        Whoever has opened the files since, and hears nothing, has read those and no others.
        """
        for path, stamp in self.stamps.items():
            if Stamp.of(path) != stamp:
                raise FileChanged(self.name, path)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one file from another that has taken its place."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """That of the file behind `path`, if there is one."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

"""Where the files of one model lie on this machine: what the registry hands to whoever loads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Format: TypeAlias = Literal["safetensors", "gguf", "pytorch"]

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """Something said at the beginning of every conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model, ready to load.

    `weights` are the shards in order, all of one `format`; `files` maps every file's name in its repository to where it
    lies ("config.json", "tokenizer.json", "model.safetensors.index.json" ...). `template`, `parameters`, `system`
    and `messages` are the user's own additions from the manifest.
    """

    name: str
    format: Format
    weights: tuple[Path, ...]
    files: Mapping[str, Path] = field(default_factory=dict)
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    messages: tuple[Message, ...] = ()

"""What the layers of a model mean that was made for Ollama, wherever they lie: its weights and what is pinned to it.

Templates are written in Ollama's own language. The model's own, in its GGUF, is preferred; a known one is turned into
Jinja; any other is refused. The template `{{ .Prompt }}` says that the model has none.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..digests import Digest
from ..errors import BrokenManifest, ModelfileError, NoTemplate, NoWeights
from ..files import ROLES, Message
from ..formats.gguf import read_gguf
from ..formats.reader import open_regular
from ..go_templates import is_go, known_jinja, wants_bos
from ..modelfile import Modelfile, Value, translate_parameters

MAX_BYTES = 4 << 20
_KIND = "application/vnd.ollama.image."
_NOT_YET = {"adapter": "has an adapter", "tensor": "is kept as one file a tensor", "draft": "has a draft model"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a model, as its manifest names it: what it is for, and its bytes."""

    kind: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer that lies at `path`."""

    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class Pinned:
    """What comes with the weights; `notices` is what of it means nothing here."""

    template: str | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    system: str | None = None
    messages: tuple[Message, ...] = ()
    terms: str | None = None
    notices: tuple[str, ...] = ()


def read_layers(manifest: bytes) -> list[Layer]:
    """What a manifest says, every field checked. Raises `ValueError`."""
    try:
        content = json.loads(manifest)
        listed = content["layers"]
        if not isinstance(listed, list):
            raise TypeError("layers is not a list")
        return [_layer(one) for one in listed]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def refuse_unreadable(name: str, layers: Sequence[Layer]) -> None:
    """Raises `NoWeights`, by its name, where a model is kept in a way that is not read, or has no weights."""
    for one in layers:
        if one.kind in _NOT_YET:
            raise NoWeights(name, f"{_NOT_YET[one.kind]}, which is not read yet")
    if not any(one.kind == "model" for one in layers):
        raise NoWeights(name, "its manifest names no weights")


def read_pinned(name: str, layers: Sequence[Placed], template: str | None = None) -> Pinned:
    """What is pinned to a model whose layers are here. `template`, if given, stands in for its own.

    Raises `NoTemplate` or `BrokenManifest`.
    """
    weights = tuple(one.path for one in layers if one.kind == "model")
    parameters = _parameters(layers)
    terms = [_read(one.path).decode("utf-8", errors="replace") for one in layers if one.kind == "license"]
    return Pinned(
        template=template if template is not None else _template(name, layers, weights),
        parameters=parameters.parameters,
        system=_text(layers, "system"),
        messages=_messages(layers),
        terms="\n\n".join(terms) or None,
        notices=tuple(parameters.notices),
    )


def _layer(content: Mapping[str, object]) -> Layer:
    kind, size = str(content["mediaType"]), content["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"size {size!r} is none")
    digest = Digest.parse(str(content["digest"]))
    if digest.kind != "sha256":
        raise ValueError(f"{digest} is not a sha256")
    return Layer(kind.removeprefix(_KIND), size, digest)


def _template(name: str, layers: Sequence[Placed], weights: tuple[Path, ...]) -> str | None:
    """None where the GGUF has its own, or where Ollama says that there is none."""
    metadata = read_gguf(weights, vocabulary=False).metadata
    wanted = _text(layers, "template")
    own = metadata.get("tokenizer.chat_template")
    if isinstance(own, str) or wanted is None or wanted.strip() == "{{ .Prompt }}":
        return None
    if not is_go(wanted):
        return wanted
    jinja = known_jinja(wanted, bos=wants_bos(None, metadata))
    if jinja is None:
        raise NoTemplate(name, "its template is written for Ollama in a way not known here, and its GGUF has none")
    return jinja


def _parameters(layers: Sequence[Placed]) -> Modelfile:
    path = _path(layers, "params")
    if path is None:
        return Modelfile(Path())
    content = _data(path)
    if not isinstance(content, dict):
        raise BrokenManifest(path, "holds no parameters")
    try:
        return translate_parameters(path, content)
    except ModelfileError as error:
        raise BrokenManifest(path, error.reason) from error


def _messages(layers: Sequence[Placed]) -> tuple[Message, ...]:
    path = _path(layers, "messages")
    if path is None:
        return ()
    content = _data(path)
    return tuple(_message(path, one) for one in (content if isinstance(content, list) else [content]))


def _message(path: Path, content: object) -> Message:
    role, said = (content.get("role"), content.get("content")) if isinstance(content, dict) else (None, None)
    if role not in ROLES or not isinstance(said, str):
        raise BrokenManifest(path, "holds no messages")
    return Message(str(role), said)


def _text(layers: Sequence[Placed], kind: str) -> str | None:
    path = _path(layers, kind)
    return _read(path).decode("utf-8", errors="replace") if path else None


def _path(layers: Sequence[Placed], kind: str) -> Path | None:
    return next((one.path for one in layers if one.kind == kind), None)


def _data(path: Path) -> object:
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise BrokenManifest(path, f"is not JSON: {error}") from error


def _read(path: Path) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BrokenManifest(path, f"is larger than {MAX_BYTES} bytes")
    return data

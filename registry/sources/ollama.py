"""Models in the store of an Ollama on this machine: used where they lie. Nothing there is ever written.

    manifests/<host>/<namespace>/<model>/<tag>     which blobs make up a model, each by its kind
    blobs/sha256-<hex>                             weights (GGUF), template, system message, parameters, messages

Templates there are written in Ollama's own language. The model's own, in its GGUF, is preferred; a known one is turned
into Jinja; any other is refused. The template `{{ .Prompt }}` says that the model has none.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..digests import Digest
from ..errors import (
    BrokenManifest,
    FileMissing,
    FormatError,
    InvalidName,
    ModelfileError,
    NoTemplate,
    NotInstalled,
    NoWeights,
)
from ..events import Listener, Notice, nobody
from ..files import ROLES, Message, ModelFiles
from ..formats.gguf import read_gguf
from ..formats.reader import open_regular
from ..go_templates import is_go, known_jinja, wants_bos
from ..modelfile import Modelfile, translate_parameters
from ..names import ModelRef
from ..settings import RegistrySettings
from ..store import blob_name

MAX_BYTES = 4 << 20
_HOST, _SPACE = "registry.ollama.ai", "library"
_KIND = "application/vnd.ollama.image."
_NOT_YET = {"adapter": "has an adapter", "tensor": "is kept as one file a tensor", "draft": "has a draft model"}


@dataclass(frozen=True, slots=True)
class _Layer:
    """One blob of a model: what it is for, and where it lies."""

    kind: str
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A model as it is listed; `size` None: its manifest cannot be read."""

    name: str
    size: int | None
    modified: float


def ollama_files(ref: ModelRef, settings: RegistrySettings, listener: Listener = nobody) -> ModelFiles:
    """A model of Ollama's as it is loaded, with what was pinned to it. It never goes without its template."""
    root = _root(ref, settings)
    path = root / "manifests" / Path(*_place(ref))
    if not path.is_file():
        raise NotInstalled(str(ref), [one.name for one in ollama_models(settings) if ref.name in one.name][:3])
    layers = _layers(ref, path, root)
    weights = _weights(ref, layers)
    pinned = _parameters(layers)
    for text in pinned.notices:
        listener(Notice(text))
    return ModelFiles(
        name=str(ref),
        format="gguf",
        weights=weights,
        files={one.name: one for one in weights},
        template=_template(ref, layers, weights),
        parameters=pinned.parameters,
        system=_text(layers, "system"),
        messages=_messages(layers),
    )


def ollama_models(settings: RegistrySettings) -> Iterator[OllamaModel]:
    """Every model of the store, by the name that it has here."""
    root = settings.ollama
    for path in sorted(root.glob("manifests/*/*/*/*")) if root else ():
        host, space, model, tag = path.parts[-4:]
        shown = [host, space, model] if host != _HOST else [space, model] if space != _SPACE else [model]
        ref = ModelRef.parse(f"ollama:{'/'.join(shown)}:{tag}") if path.is_file() and _is_name(path) else None
        if ref and root:
            yield OllamaModel(str(ref), _size(ref, path, root), path.stat().st_mtime)


def _root(ref: ModelRef, settings: RegistrySettings) -> Path:
    if settings.ollama is None or not settings.ollama.is_dir():
        raise NoWeights(str(ref), f"there is no store of Ollama's at {settings.ollama}; OLLAMA_MODELS says where it is")
    return settings.ollama


def _place(ref: ModelRef) -> tuple[str, str, str, str]:
    """Host, namespace, model and tag: names that were found well-formed, and nothing else, make the path."""
    parts = ref.name.split("/")
    host, space, model = [_HOST, _SPACE][: 3 - len(parts)] + parts
    return host, space, model, ref.tag or "latest"


def _is_name(path: Path) -> bool:
    try:
        ModelRef.parse(f"ollama:{'/'.join(path.parts[-4:-1])}:{path.name}")
    except InvalidName:
        return False
    return True


def _size(ref: ModelRef, path: Path, root: Path) -> int | None:
    try:
        return sum(one.size for one in _layers(ref, path, root))
    except (BrokenManifest, FormatError):
        return None


def _layers(ref: ModelRef, path: Path, root: Path) -> list[_Layer]:
    """What a manifest says, every field checked."""
    try:
        content = json.loads(_read(path))
        listed = content["layers"]
        if not isinstance(listed, list):
            raise TypeError("layers is not a list")
        return [_layer(one, root) for one in listed]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokenManifest(path, f"is no manifest of {ref}: {error}") from error


def _layer(content: Mapping[str, object], root: Path) -> _Layer:
    kind, size = str(content["mediaType"]), content["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"size {size!r} is none")
    digest = Digest.parse(str(content["digest"]))
    if digest.kind != "sha256":
        raise ValueError(f"{digest} is not a sha256")
    return _Layer(kind.removeprefix(_KIND), size, root / "blobs" / blob_name(digest))


def _weights(ref: ModelRef, layers: list[_Layer]) -> tuple[Path, ...]:
    """The GGUF of the model, as long as it should be. One that is kept in another way is refused by its name."""
    for one in layers:
        if one.kind in _NOT_YET:
            raise NoWeights(str(ref), f"{_NOT_YET[one.kind]}, which is not read yet")
    found = [one for one in layers if one.kind == "model"]
    if not found:
        raise NoWeights(str(ref), "its manifest names no weights")
    for one in found:
        if not one.path.is_file() or one.path.stat().st_size != one.size:
            raise FileMissing(str(ref), one.path, "is not whole: pull the model again with Ollama")
    return tuple(one.path for one in found)


def _template(ref: ModelRef, layers: list[_Layer], weights: tuple[Path, ...]) -> str | None:
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
        raise NoTemplate(str(ref), "its template is written for Ollama in a way not known here, and its GGUF has none")
    return jinja


def _parameters(layers: list[_Layer]) -> Modelfile:
    path = next((one.path for one in layers if one.kind == "params"), None)
    if path is None:
        return Modelfile(Path())
    content = _data(path)
    if not isinstance(content, dict):
        raise BrokenManifest(path, "holds no parameters")
    try:
        return translate_parameters(path, content)
    except ModelfileError as error:
        raise BrokenManifest(path, error.reason) from error


def _messages(layers: list[_Layer]) -> tuple[Message, ...]:
    path = next((one.path for one in layers if one.kind == "messages"), None)
    if path is None:
        return ()
    content = _data(path)
    return tuple(_message(path, one) for one in (content if isinstance(content, list) else [content]))


def _message(path: Path, content: object) -> Message:
    role, said = (content.get("role"), content.get("content")) if isinstance(content, dict) else (None, None)
    if role not in ROLES or not isinstance(said, str):
        raise BrokenManifest(path, "holds no messages")
    return Message(str(role), said)


def _text(layers: list[_Layer], kind: str) -> str | None:
    path = next((one.path for one in layers if one.kind == kind), None)
    return _read(path).decode("utf-8", errors="replace") if path else None


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

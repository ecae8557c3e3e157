"""Models in the store of an Ollama on this machine: used where they lie. Nothing there is ever written.

    manifests/<host>/<namespace>/<model>/<tag>     which blobs make up a model, each by its kind
    blobs/sha256-<hex>                             weights (GGUF), template, system message, parameters, messages

What the blobs mean is said in `ollama_layers`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BrokenManifest, FileMissing, FormatError, InvalidName, NotInstalled, NoWeights
from ..events import Listener, Notice, nobody
from ..files import ModelFiles
from ..formats.reader import open_regular
from ..names import ModelRef
from ..settings import RegistrySettings
from ..store import blob_name
from .ollama_layers import MAX_BYTES, Layer, Placed, read_layers, read_pinned, refuse_unreadable

_HOST, _SPACE = "registry.ollama.ai", "library"


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
    layers = _layers(ref, path)
    weights = _weights(ref, layers, root)
    pinned = read_pinned(str(ref), [Placed(one.kind, _blob(root, one)) for one in layers])
    for text in pinned.notices:
        listener(Notice(text))
    return ModelFiles(
        name=str(ref),
        format="gguf",
        weights=weights,
        files={one.name: one for one in weights},
        template=pinned.template,
        parameters=pinned.parameters,
        system=pinned.system,
        messages=pinned.messages,
    )


def ollama_models(settings: RegistrySettings) -> Iterator[OllamaModel]:
    """Every model of the store, by the name that it has here."""
    root = settings.ollama
    for path in sorted(root.glob("manifests/*/*/*/*")) if root else ():
        host, space, model, tag = path.parts[-4:]
        shown = [host, space, model] if host != _HOST else [space, model] if space != _SPACE else [model]
        ref = ModelRef.parse(f"ollama:{'/'.join(shown)}:{tag}") if path.is_file() and _is_name(path) else None
        if ref and root:
            yield OllamaModel(str(ref), _size(ref, path), path.stat().st_mtime)


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


def _size(ref: ModelRef, path: Path) -> int | None:
    try:
        return sum(one.size for one in _layers(ref, path))
    except (BrokenManifest, FormatError):
        return None


def _layers(ref: ModelRef, path: Path) -> list[Layer]:
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        return read_layers(data)
    except ValueError as error:
        raise BrokenManifest(path, f"is no manifest of {ref}: {error}") from error


def _blob(root: Path, layer: Layer) -> Path:
    return root / "blobs" / blob_name(layer.digest)


def _weights(ref: ModelRef, layers: list[Layer], root: Path) -> tuple[Path, ...]:
    """The GGUF of the model, as long as it should be. One that is kept in another way is refused by its name."""
    refuse_unreadable(str(ref), layers)
    found = [one for one in layers if one.kind == "model"]
    for one in found:
        path = _blob(root, one)
        if not path.is_file() or path.stat().st_size != one.size:
            raise FileMissing(str(ref), path, "is not whole: pull the model again with Ollama")
    return tuple(_blob(root, one) for one in found)

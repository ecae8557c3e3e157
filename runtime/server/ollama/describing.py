"""A model as Ollama tells of one: its details, its recipe as a Modelfile, and the keys of its files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ....registry.amounts import count_text
from ....registry.describe import read_details
from ....registry.errors import RegistryError
from ....registry.files import ModelFiles
from ....registry.finding import find_installed
from ....registry.formats.gguf import read_gguf
from ....registry.formats.json_file import read_json_object
from ....registry.formats.safetensors import read_safetensors
from ....registry.formats.view import TensorView
from ....registry.manifest import Details, Manifest
from ....registry.names import Kind, ModelRef
from ....registry.settings import RegistrySettings
from ....registry.shelf import Entry, Shelf
from ...text.abilities import capabilities
from ...text.defaults import generation_defaults
from ...text.template_files import templates_of
from ..catalogue import Catalogue
from .options import NAMES
from .results import ListedModel, ModelDetails, ShownModel
from .wording import moment

_LONGEST_ARRAY = 5  # of what is shown unless everything is wanted
# A key of config.json, and the one that a GGUF has for it, behind the architecture's name.
_KEYS = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "vocab_size": "vocab_size",
}


@dataclass(frozen=True, slots=True)
class Described:
    """What there is to tell of one model; a model that lies in a folder of somebody's has no digest and no licence."""

    name: str
    details: Details
    format: str
    size: int
    modified: datetime
    digest: str = ""
    licence: str = ""


def entries(catalogue: Catalogue, also: Iterable[str] = ()) -> list[ListedModel]:
    """The models of the shelf and those in `also`, the newest first; those that cannot be read are left out."""
    return [_listed(one) for one in described(catalogue, also)]


def described(catalogue: Catalogue, also: Iterable[str] = ()) -> list[Described]:
    """The same, with all that there is to tell of each."""
    found = {one.name: _of_manifest(one.manifest) for one in catalogue.entries() if one.manifest is not None}
    for name in also:
        if name not in found:
            with suppress(RegistryError, OSError):  # removed meanwhile
                found[name] = describe(catalogue, name)
    return sorted(found.values(), key=lambda one: one.modified, reverse=True)


def describe(catalogue: Catalogue, name: str) -> Described:
    """The model that is called so. Raises `RegistryError`."""
    entry = find_entry(name, catalogue.settings)
    if entry is not None:
        return _of_manifest(entry.sound)
    return _of_files(catalogue.files(name))


def find_entry(name: str, settings: RegistrySettings) -> Entry | None:
    """The shelf's model of that name; None for a path, or a name that it does not have."""
    ref = ModelRef.parse(name)
    if ref.is_path or ref.kind is Kind.OLLAMA:
        return None
    return find_installed(ref, Shelf(settings), settings)


def show(catalogue: Catalogue, name: str, *, verbose: bool) -> ShownModel:
    """All that is known of a model. Raises `RegistryError`."""
    files, told = catalogue.files(name), describe(catalogue, name)
    template = templates_of(files).get("default", "")
    parameters = parameters_text(_parameters(files))
    return ShownModel(
        license=told.licence,
        modelfile=modelfile(name, files, parameters, template),
        parameters=parameters,
        template=template,
        system=files.system or "",
        details=details(told),
        messages=[{"role": one.role, "content": one.content} for one in files.messages],
        model_info=_info(files, told, verbose=verbose),
        capabilities=capabilities(files),
        modified_at=moment(told.modified),
        **({"tensors": _tensors(files)} if verbose else {}),
    )


def details(told: Described) -> ModelDetails:
    family = told.details.architecture or ""
    return ModelDetails(
        format=told.format,
        family=family,
        families=[family] if family else [],
        parameter_size=count_text(told.details.parameters) if told.details.parameters else "",
        quantization_level=told.details.quantisation or "",
    )


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """A line for each, under Ollama's names; text stands in quotes."""
    return "\n".join(f"{name:<30} {value}" for name, value in _spelled(parameters))


def modelfile(name: str, files: ModelFiles, parameters: str, template: str) -> str:
    """A recipe for the same model."""
    lines = ["# Made by unillm, from what is installed", f"FROM {name}"]
    lines += [f'TEMPLATE """{template}"""'] if template else []
    lines += [f'SYSTEM """{files.system}"""'] if files.system else []
    lines += [f"PARAMETER {line.split(None, 1)[0]} {line.split(None, 1)[1]}" for line in parameters.splitlines()]
    lines += [f"MESSAGE {one.role} {one.content}" for one in files.messages]
    return "\n".join(lines) + "\n"


def _listed(told: Described) -> ListedModel:
    return ListedModel(
        name=told.name,
        model=told.name,
        modified_at=moment(told.modified),
        size=told.size,
        digest=told.digest,
        details=details(told),
    )


def _of_manifest(manifest: Manifest) -> Described:
    return Described(
        name=str(manifest.ref),
        details=manifest.details,
        format=manifest.format,
        size=manifest.size,
        modified=manifest.pulled,
        digest=manifest.id,
        licence=manifest.terms or manifest.licence or "",
    )


def _of_files(files: ModelFiles) -> Described:
    statuses = [path.stat() for path in files.weights]
    newest = max((status.st_mtime for status in statuses), default=0.0)
    return Described(
        name=files.name,
        details=read_details(files),
        format=files.format,
        size=sum(status.st_size for status in statuses),
        modified=datetime.fromtimestamp(newest, UTC),
    )


def _parameters(files: ModelFiles) -> dict[str, Any]:
    """How the model samples where nobody says otherwise, and its context where one is pinned to it."""
    pinned = {name: files.parameters[name] for name in ("context", "stop") if name in files.parameters}
    return {**generation_defaults(files), **pinned}


def _spelled(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = {ours: theirs.removeprefix("options.") for ours, theirs in NAMES.items()}
    for ours, value in sorted(parameters.items()):
        for one in value if isinstance(value, list | tuple) else [value]:
            yield names.get(ours, ours), f'"{one}"' if isinstance(one, str) else str(one)


def _info(files: ModelFiles, told: Described, *, verbose: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"general.parameter_count": told.details.parameters}
    if files.format == "gguf":
        found |= read_gguf(files.weights, vocabulary=verbose).metadata
    else:
        found |= _of_config(files)
    hidden = {"general.name", "tokenizer.chat_template"}
    return {name: _short(value, verbose) for name, value in found.items() if name not in hidden and value is not None}


def _of_config(files: ModelFiles) -> dict[str, Any]:
    """The keys of config.json that a GGUF has too, by those names."""
    config = read_json_object(files.files["config.json"]) if "config.json" in files.files else {}
    inner = config.get("text_config")
    values: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    kind = str(config.get("model_type") or "unknown")
    found = {f"{kind}.{theirs}": values[ours] for ours, theirs in _KEYS.items() if values.get(ours) is not None}
    return {"general.architecture": kind, **found}


def _short(value: Any, verbose: bool) -> Any:
    if isinstance(value, bytes | str) or not isinstance(value, Sequence):
        return value
    return list(value) if verbose or len(value) <= _LONGEST_ARRAY else []


def _tensors(files: ModelFiles) -> list[dict[str, Any]]:
    found: dict[str, TensorView] = {}
    if files.format == "gguf":
        found = dict(read_gguf(files.weights, vocabulary=False).tensors)
    elif files.format == "safetensors":
        for path in files.weights:
            found |= read_safetensors(path).tensors
    return [{"name": name, "type": one.dtype, "shape": list(one.shape)} for name, one in found.items()]

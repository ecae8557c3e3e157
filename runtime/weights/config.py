"""What a folder's config.json says of its weights; for formats that do not say it themselves."""

from pathlib import Path
from typing import Any, Final

from ...models.contract import WeightMetadata
from ...models.published.methods import SECTION
from ...models.table import architecture_of
from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object

_OPTIMIZER: Final = "hf_quant_config.json"


def folder_metadata(files: ModelFiles) -> WeightMetadata:
    """An empty architecture where the folder does not say it: the tensors' names may."""
    path = files.files.get("config.json")
    config = {} if path is None else read_json_object(path)
    beside = files.files.get(_OPTIMIZER)
    if beside is not None and config.get(SECTION) is None:
        config = {**config, SECTION: _optimized(beside)}
    return WeightMetadata(files.format, architecture_of(config) or "", config)


def _optimized(path: Path) -> dict[str, Any]:
    """What older files of Model Optimizer say beside their config.json, as newer ones say it there."""
    said = read_json_object(path).get("quantization")
    if not isinstance(said, dict):
        raise FormatError(path, "'quantization'", "is not a JSON object")
    return {"quant_method": "modelopt", **said}


def unsaid(files: ModelFiles) -> FormatError:
    """What is wrong with a folder from which no architecture can be told."""
    path = files.files.get("config.json")
    if path is None:
        missing = files.weights[0].parent / "config.json"
        return FormatError(missing, "file", "is not there; it says which architecture the weights have")
    return FormatError(path, "'architectures'", "does not name the class that the weights are of")

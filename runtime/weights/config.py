"""What a folder's config.json says of its weights; for formats that do not say it themselves."""

from ...models.contract import WeightMetadata
from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object


def folder_metadata(files: ModelFiles) -> WeightMetadata:
    path = files.files.get("config.json")
    if path is None:
        missing = files.weights[0].parent / "config.json"
        raise FormatError(missing, "file", "is not there; it says which architecture the weights have")
    config = read_json_object(path)
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise FormatError(path, "'architectures'", "does not name the class that the weights are of")
    return WeightMetadata(files.format, architectures[0], config)

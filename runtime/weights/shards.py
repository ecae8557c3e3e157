"""What a folder says of how its weights are split: an index must name the files that are loaded, and no others."""

from pathlib import Path

from ...registry.files import ModelFiles
from ...registry.formats.index import read_index


def check_indexes(files: ModelFiles) -> None:
    """Raise `FormatError` where an index names a file that is not among the weights, leaves the folder, or lies."""
    if len(files.weights) < 2:
        return
    ending = files.weights[0].suffix
    places = _places(files)
    for name, path in files.files.items():
        if name.endswith(f"{ending}.index.json"):
            read_index(path, places)


def _places(files: ModelFiles) -> dict[str, Path]:
    """The weights by what they are called where they come from, whatever they are called here."""
    weights = set(files.weights)
    named = {name: path for name, path in files.files.items() if path in weights}
    return named or {path.name: path for path in files.weights}

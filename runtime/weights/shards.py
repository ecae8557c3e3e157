"""What a folder says of how its weights are split: an index must name the files that are loaded, and no others."""

from collections.abc import Iterable
from pathlib import Path

from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.index import read_weight_map


def check_indexes(files: ModelFiles) -> None:
    """Raise `FormatError` where an index names a file that is not among the weights, or that leaves the folder."""
    if len(files.weights) < 2:
        return
    ending = files.weights[0].suffix
    present = set(_names(files))
    for name, path in files.files.items():
        if name.endswith(f"{ending}.index.json"):
            _check(path, read_weight_map(path).values(), present)


def _check(index: Path, named: Iterable[str], present: set[str]) -> None:
    for name in named:
        if name not in present:
            raise FormatError(index, f"file {name!r}", "is not among the model's weights")


def _names(files: ModelFiles) -> list[str]:
    """What the weights are called where they come from, whatever they are called here."""
    weights = set(files.weights)
    return [name for name, path in files.files.items() if path in weights] or [path.name for path in files.weights]

"""The index of a model in several files: which tensor lies in which (`model.safetensors.index.json` and its like).

    {"metadata": {"total_size": 1234}, "weight_map": {tensor: file name}}

A file name is a name in the index's own folder and nothing else: no path leaves it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import FormatError
from .json_scanner import JSONScanner
from .limits import MAX_INDEX, MAX_JSON, MAX_KEYS, MAX_SHARDS
from .reader import BoundedReader, regular_size

_FILE_NAME: Final = re.compile(r"[^/\\:\x00-\x1f\x7f]{1,255}")
_MOST_BYTES: Final = 1 << 53
_CARELESS: Final = 16  # an index may count a model's bytes in another dtype than its files have


def read_index(path: Path, places: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Where each tensor lies, every file seen to be there: beside the index, or where `places` has put it."""
    names, total = _read(path)
    files = {name: _place(path, name, places) for name in set(names.values())}
    held = sum(_size(path, name, file) for name, file in sorted(files.items()))
    if total is not None and total > _CARELESS * held:
        raise FormatError(path, "'total_size'", f"is {total:.0f}; the files hold {held} bytes")
    return {tensor: files[name] for tensor, name in names.items()}


def _read(path: Path) -> tuple[dict[str, str], float | None]:
    names: dict[str, str] | None = None
    total: float | None = None
    with BoundedReader(path) as reader:
        if reader.size > MAX_JSON:
            raise reader.error("file", f"has {reader.size} bytes, more than {MAX_JSON}", 0)
        scanner = JSONScanner(reader, reader.size)
        for key in scanner.keys("index", MAX_KEYS):
            match key:
                case "weight_map":
                    names = _weight_map(reader, scanner)
                case "metadata":
                    total = _total_size(reader, scanner)
                case _:
                    scanner.skip(repr(key))
        scanner.end("index")
    if not names:
        raise FormatError(path, "'weight_map'", "names no tensors")
    return names, total


def _weight_map(reader: BoundedReader, scanner: JSONScanner) -> dict[str, str]:
    names: dict[str, str] = {}
    files: dict[str, str] = {}
    for tensor in scanner.keys("'weight_map'", MAX_INDEX):
        name = scanner.string(f"file of tensor {tensor!r}")
        if name not in files:
            _check_name(reader, tensor, name)
            files[name] = name
        if len(files) > MAX_SHARDS:
            raise reader.error("'weight_map'", f"names more than {MAX_SHARDS} files")
        names[tensor] = files[name]
    return names


def _check_name(reader: BoundedReader, tensor: str, name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or name in (".", ".."):
        raise reader.error(
            f"tensor {tensor!r}", f"is said to lie in {name!r}, which is not the name of a file beside it"
        )


def _total_size(reader: BoundedReader, scanner: JSONScanner) -> float | None:
    total = None
    for key in scanner.keys("'metadata'", MAX_KEYS):
        if key != "total_size":
            scanner.skip(repr(key))
            continue
        total = scanner.number("'total_size'")
        if not 0 <= total <= _MOST_BYTES:
            raise reader.error("'total_size'", f"is not a number of bytes from 0 to {_MOST_BYTES}")
    return total


def _place(index: Path, name: str, places: Mapping[str, Path] | None) -> Path:
    if places is None:
        return index.parent / name
    if name not in places:
        raise FormatError(index, f"file {name!r}", "is not among the model's weights")
    return places[name]


def _size(index: Path, name: str, file: Path) -> int:
    try:
        return regular_size(file)
    except FormatError as error:
        raise FormatError(index, f"file {name!r}", error.reason) from error

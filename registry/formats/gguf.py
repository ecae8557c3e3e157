"""GGUF, as llama.cpp writes it: key-values, then where each tensor lies, then the tensors.

    "GGUF"  u32 version (2 or 3)  u64 tensors  u64 keys
    keys     times: string key, u32 type, value          string: u64 length, UTF-8
    tensors  times: string name, u32 dimensions, u64 each (innermost first), u32 GGML type, u64 offset
    padding to `general.alignment` (32), from where the offsets count

A model may be split over several files, each a whole GGUF of its own; `split.count` says so. Big-endian files are
refused. Knows neither tensors nor what the keys mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from struct import Struct
from typing import TypeAlias

from ..errors import FormatError
from .ggml_types import GGML_TYPES
from .limits import (
    MAX_ALIGNMENT,
    MAX_ARRAY,
    MAX_GGUF_DIMENSIONS,
    MAX_KEYS,
    MAX_SHARDS,
    MAX_TENSORS,
    MIN_ALIGNMENT,
)
from .reader import BoundedReader, Numbers
from .sniff import expect
from .view import TensorView

GGUFValue: TypeAlias = "bool | int | float | str | list[str] | list[bool] | Numbers"

DEFAULT_ALIGNMENT = 32
VERSIONS = (2, 3)

# A value's type -> how its bytes are read, and `array`'s letter for many of them.
_NUMBERS: dict[int, tuple[Struct, str]] = {
    0: (Struct("<B"), "B"),
    1: (Struct("<b"), "b"),
    2: (Struct("<H"), "H"),
    3: (Struct("<h"), "h"),
    4: (Struct("<I"), "I"),
    5: (Struct("<i"), "i"),
    6: (Struct("<f"), "f"),
    10: (Struct("<Q"), "Q"),
    11: (Struct("<q"), "q"),
    12: (Struct("<d"), "d"),
}
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What a model's GGUF says of itself. Arrays of numbers are `array.array`s, arrays of strings lists."""

    version: int
    metadata: dict[str, GGUFValue]
    tensors: dict[str, TensorView]
    alignment: int


def read_gguf(paths: Path | Sequence[Path], *, vocabulary: bool = True) -> GGUFHeader:
    """The header of a whole model: one file, or all its shards in order.

    Without `vocabulary` the arrays under `tokenizer.`, which are most of a header, are passed over and left out.
    """
    shards = [paths] if isinstance(paths, Path) else list(paths)
    headers = [read_gguf_shard(path, vocabulary=vocabulary) for path in shards]
    for number, (path, header) in enumerate(zip(shards, headers, strict=True)):
        _check_split(path, header, number, len(shards))
    return _merge(shards, headers)


def read_gguf_shard(path: Path, *, vocabulary: bool = True) -> GGUFHeader:
    """The header of one file, whether it is the whole model or a part."""
    with BoundedReader(path) as reader:
        expect(reader, "gguf")
        reader.position = 4
        version = _version(reader)
        num_tensors = _count(reader, "number of tensors", MAX_TENSORS)
        num_keys = _count(reader, "number of keys", MAX_KEYS)
        reader.limit_header()
        metadata, types = _metadata(reader, num_keys, vocabulary)
        alignment = _alignment(reader, metadata, types)
        stated = [_tensor(reader, index) for index in range(num_tensors)]
        return GGUFHeader(version, metadata, _placed(reader, stated, alignment), alignment)


def _version(reader: BoundedReader) -> int:
    version = reader.u32("version")
    if version in VERSIONS:
        return version
    if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
        raise reader.error("version", "this GGUF is big-endian; only little-endian files are read", 4)
    raise reader.error("version", f"is {version}; versions 2 and 3 are read", 4)


def _count(reader: BoundedReader, field: str, most: int) -> int:
    start = reader.position
    count = reader.u64(field)
    if count > most:
        raise reader.error(field, f"is {count}, more than {most}", start)
    return count


# Keys


def _metadata(reader: BoundedReader, count: int, vocabulary: bool) -> tuple[dict[str, GGUFValue], dict[str, int]]:
    metadata: dict[str, GGUFValue] = {}
    types: dict[str, int] = {}
    for index in range(count):
        start = reader.position
        key = reader.name(f"key {index}")
        if not key or key in types:
            raise reader.error(f"key {index}", f"{key!r} is there twice" if key else "has no name", start)
        types[key] = reader.u32(f"type of {key!r}")
        if types[key] == _ARRAY and key.startswith("tokenizer.") and not vocabulary:
            _pass_array(reader, repr(key))
        else:
            metadata[key] = _value(reader, types[key], repr(key))
    return metadata, types


def _value(reader: BoundedReader, kind: int, field: str) -> GGUFValue:
    if kind in _NUMBERS:
        return reader.unpack(_NUMBERS[kind][0], field)
    if kind == _BOOL:
        return _truth(reader, reader.take(1, field), field)[0]
    if kind == _STRING:
        return reader.text(field)
    if kind == _ARRAY:
        return _array(reader, field)
    raise reader.error(f"type of {field}", f"is {kind}, which GGUF does not have", reader.position - 4)


def _array(reader: BoundedReader, field: str) -> GGUFValue:
    kind, count = _array_start(reader, field)
    if kind == _STRING:
        return reader.strings(count, field)
    if kind == _BOOL:
        reader.spend_items(count, field)
        return _truth(reader, reader.take(count, field), field)
    return reader.numbers(_NUMBERS[kind][1], count, field)


def _pass_array(reader: BoundedReader, field: str) -> None:
    kind, count = _array_start(reader, field)
    if kind == _STRING:
        reader.pass_strings(count, field)
    else:
        reader.pass_over(count * (1 if kind == _BOOL else _NUMBERS[kind][0].size), field)


def _array_start(reader: BoundedReader, field: str) -> tuple[int, int]:
    """Of what type the items are, and how many."""
    start = reader.position
    kind = reader.u32(f"item type of {field}")
    if kind not in _NUMBERS and kind not in (_BOOL, _STRING):
        arrays = "is an array of arrays, which no model has"
        reason = arrays if kind == _ARRAY else f"is {kind}, which GGUF does not have"
        raise reader.error(f"item type of {field}", reason, start)
    return kind, _count(reader, f"length of {field}", MAX_ARRAY)


def _truth(reader: BoundedReader, raw: bytes, field: str) -> list[bool]:
    if raw.translate(None, b"\0\1"):
        raise reader.error(field, "is neither true (1) nor false (0)", reader.position - len(raw))
    return [byte == 1 for byte in raw]


def _alignment(reader: BoundedReader, metadata: dict[str, GGUFValue], types: dict[str, int]) -> int:
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    wanted = f"must be a power of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT}"
    if types.get("general.alignment", _UINT32) != _UINT32 or not isinstance(alignment, int):
        raise reader.error("'general.alignment'", f"is not an unsigned 32-bit number; it {wanted}")
    if not MIN_ALIGNMENT <= alignment <= MAX_ALIGNMENT or alignment & alignment - 1:
        raise reader.error("'general.alignment'", f"is {alignment}; it {wanted}")
    return alignment


# Tensors


@dataclass(frozen=True, slots=True)
class _Stated:
    """A tensor as its entry states it; `at` is the entry's place in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    at: int


def _tensor(reader: BoundedReader, index: int) -> _Stated:
    at = reader.position
    name = reader.name(f"name of tensor {index}")
    field = f"tensor {name!r}"
    if not name:
        raise reader.error(f"tensor {index}", "has no name", at)
    dimensions = reader.u32(f"number of dimensions of {field}")
    if dimensions > MAX_GGUF_DIMENSIONS:
        raise reader.error(field, f"has {dimensions} dimensions, more than {MAX_GGUF_DIMENSIONS}", at)
    innermost_first = [reader.u64(f"dimension of {field}") for _ in range(dimensions)]
    number = reader.u32(f"type of {field}")
    offset = reader.u64(f"offset of {field}")
    kind = GGML_TYPES.get(number)
    if kind is None:
        raise reader.error(field, f"has GGML type {number}, which unillm does not know", at)
    row = innermost_first[0] if innermost_first else 1
    if row % kind.elements:
        raise reader.error(field, f"has rows of {row} numbers; {kind.name} packs {kind.elements} at a time", at)
    if 0 in innermost_first:
        raise reader.error(field, "has a dimension of zero", at)
    nbytes = prod(innermost_first) // kind.elements * kind.nbytes
    return _Stated(name, kind.name, tuple(reversed(innermost_first)), offset, nbytes, at)


def _placed(reader: BoundedReader, stated: list[_Stated], alignment: int) -> dict[str, TensorView]:
    """Where each tensor lies, none outside the file and no two on each other."""
    begin = -(-reader.position // alignment) * alignment
    tensors: dict[str, TensorView] = {}
    for entry in stated:
        field = f"tensor {entry.name!r}"
        if entry.name in tensors:
            raise reader.error(field, "is there twice", entry.at)
        if entry.offset % alignment:
            raise reader.error(field, f"has offset {entry.offset}, not a multiple of {alignment}", entry.at)
        start = begin + entry.offset
        if start + entry.nbytes > reader.size:
            reason = f"ends at byte {start + entry.nbytes}; the file has {reader.size}"
            raise reader.error(field, f"{reason}: it is cut short or not what it says", entry.at)
        tensors[entry.name] = TensorView(entry.name, entry.kind, entry.shape, reader.path, start, entry.nbytes)
    _check_apart(reader, stated)
    return tensors


def _check_apart(reader: BoundedReader, stated: list[_Stated]) -> None:
    ordered = sorted(stated, key=lambda entry: (entry.offset, entry.nbytes))
    for before, entry in pairwise(ordered):
        if before.offset + before.nbytes > entry.offset:
            raise reader.error(f"tensor {entry.name!r}", f"overlaps tensor {before.name!r}", entry.at)


# Shards


def _check_split(path: Path, header: GGUFHeader, number: int, given: int) -> None:
    count = _small(path, header, "split.count", 1)
    if count != given and (count, given) != (0, 1):
        raise FormatError(path, "'split.count'", f"the model has {count} files; {given} are given")
    if given > 1 and _small(path, header, "split.no", 0) != number:
        raise FormatError(path, "'split.no'", f"this is not file {number + 1} of {given}")


def _small(path: Path, header: GGUFHeader, key: str, default: int) -> int:
    value = header.metadata.get(key, default)
    if type(value) is not int or not 0 <= value <= MAX_SHARDS:
        raise FormatError(path, repr(key), f"must be a number from 0 to {MAX_SHARDS}")
    return value


def _merge(paths: list[Path], headers: list[GGUFHeader]) -> GGUFHeader:
    """The first shard's keys, and everybody's tensors."""
    first, tensors = headers[0], dict[str, TensorView]()
    for path, header in zip(paths, headers, strict=True):
        for name in header.tensors.keys() & tensors.keys():
            raise FormatError(path, f"tensor {name!r}", f"is in {tensors[name].file.name} already")
        tensors.update(header.tensors)
    stated = first.metadata.get("split.tensors.count", len(tensors))
    if len(headers) > 1 and stated != len(tensors):
        raise FormatError(paths[0], "'split.tensors.count'", f"is {stated}; the files hold {len(tensors)} tensors")
    return GGUFHeader(first.version, first.metadata, tensors, first.alignment)

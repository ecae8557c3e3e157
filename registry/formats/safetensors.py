"""safetensors: a JSON header that says where each tensor lies, then the tensors.

    u64 length  {"__metadata__": {text: text}, name: {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
    the tensors, one behind the other without gaps to the end of the file, from where the offsets count

Knows no tensors. It is stricter than the reference reader in one point: a name may stand there only once.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from .json_scanner import JSONScanner
from .limits import MAX_DIMENSIONS, MAX_HEADER, MAX_KEYS, MAX_TENSORS
from .reader import BoundedReader
from .sniff import expect
from .view import TensorView

# How many bits a number of each kind has.
DTYPES: dict[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
_MOST_ELEMENTS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What one file says of itself."""

    metadata: dict[str, str]
    tensors: dict[str, TensorView]


def read_safetensors(path: Path) -> SafetensorsHeader:
    with BoundedReader(path) as reader:
        expect(reader, "safetensors")
        begin = _header_end(reader)
        scanner = JSONScanner(reader, begin)
        metadata: dict[str, str] = {}
        stated: list[_Stated] = []
        for name in scanner.keys("header", MAX_TENSORS):
            if name == "__metadata__":
                metadata = {key: scanner.string(f"metadata {key!r}") for key in scanner.keys("metadata", MAX_KEYS)}
            else:
                stated.append(_tensor(reader, scanner, name))
        scanner.end("header")
        _check_layout(reader, stated, begin)
        return SafetensorsHeader(metadata, {entry.name: entry.view(path, begin) for entry in stated})


def _header_end(reader: BoundedReader) -> int:
    length = reader.u64("length of the header")
    if length > MAX_HEADER:
        raise reader.error("length of the header", f"is {length}, more than {MAX_HEADER}", 0)
    if reader.position + length > reader.size:
        reason = f"is {length}; the file has {reader.size} bytes: it is cut short or not what it says"
        raise reader.error("length of the header", reason, 0)
    return reader.position + length


@dataclass(frozen=True, slots=True)
class _Stated:
    """A tensor as its entry states it; `at` is the entry's place in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    at: int

    def view(self, path: Path, begin: int) -> TensorView:
        return TensorView(self.name, self.dtype, self.shape, path, begin + self.start, self.stop - self.start)


def _tensor(reader: BoundedReader, scanner: JSONScanner, name: str) -> _Stated:
    at, field = scanner.at, f"tensor {name!r}"
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    offsets: tuple[int, ...] | None = None
    for key in scanner.keys(field, MAX_KEYS):
        match key:
            case "dtype":
                dtype = scanner.string(f"dtype of {field}")
            case "shape":
                shape = scanner.whole_numbers(f"shape of {field}", MAX_DIMENSIONS)
            case "data_offsets":
                offsets = scanner.whole_numbers(f"data_offsets of {field}", 2)
            case _:
                scanner.skip(f"{key!r} of {field}")
    if dtype is None or shape is None or offsets is None or len(offsets) != 2:
        raise reader.error(field, "does not have a dtype, a shape and two data_offsets", at)
    if dtype not in DTYPES:
        raise reader.error(field, f"has dtype {dtype!r}, which safetensors does not have", at)
    _check_size(reader, field, dtype, shape, offsets, at)
    return _Stated(name, dtype, shape, *offsets, at)


def _check_size(
    reader: BoundedReader, field: str, dtype: str, shape: tuple[int, ...], offsets: tuple[int, ...], at: int
) -> None:
    start, stop = offsets
    if prod(max(size, 1) for size in shape) > _MOST_ELEMENTS:
        raise reader.error(field, f"has a shape of more than {_MOST_ELEMENTS} numbers", at)
    bits = prod(shape) * DTYPES[dtype]
    if bits % 8 or bits // 8 != stop - start:
        raise reader.error(
            field, f"{dtype} {list(shape)} takes {bits} bits; its data_offsets hold {8 * (stop - start)}", at
        )


def _check_layout(reader: BoundedReader, stated: list[_Stated], begin: int) -> None:
    """See that the tensors fill the rest of the file without gaps, overlaps or remains."""
    expected = 0
    for entry in sorted(stated, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != expected:
            reason = "overlaps the tensor before it" if entry.start < expected else "leaves a gap before it"
            raise reader.error(f"tensor {entry.name!r}", f"starts at {entry.start}, not {expected}: {reason}", entry.at)
        expected = entry.stop
    if begin + expected != reader.size:
        reason = "it is cut short" if begin + expected > reader.size else "something follows the last tensor"
        raise reader.error("data", f"ends at byte {begin + expected}; the file has {reader.size}: {reason}", begin)

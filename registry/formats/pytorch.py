"""PyTorch checkpoints, both containers that torch.save has written.

    zip (since torch 1.6)   <root>/data.pkl, <root>/data/<key> for each storage, <root>/version, <root>/byteorder ...
    legacy                  five pickles (a magic number, a version, the machine, the tensors, the storages' keys),
                            then each storage: u64 count, numbers

Everything is compared with the file before torch sees it: which tensors there are, that each lies inside its storage
and each storage inside the file. The pickles are read as data. Knows no tensors, and opens nothing that could run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, Literal

from .limits import MAX_TENSORS
from .pickle_values import Storage, StridedTensor, Value, read_pickle
from .reader import BoundedReader
from .safetensors import DTYPES
from .sniff import LEGACY_PYTORCH, expect
from .zip_directory import Member, read_zip

_PROTOCOL: Final = 1001
_SMALL_MEMBERS: Final = frozenset(("data.pkl", "version", "byteorder"))


@dataclass(frozen=True, slots=True)
class PyTorchTensor:
    """One tensor of a checkpoint. `dtype` is safetensors' word."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class PyTorchContainer:
    """A checkpoint that was looked through. `storage_bytes` is what its storages take, shared ones once."""

    file: Path
    kind: Literal["zip", "legacy"]
    tensors: dict[str, PyTorchTensor]
    storage_bytes: int


def check_pytorch(path: Path) -> PyTorchContainer:
    """Look through a checkpoint; anything but plain tensors in a well-formed container is a `FormatError`."""
    with BoundedReader(path) as reader:
        expect(reader, "pytorch")
        return _zip(reader) if reader.bytes[:2] == b"PK" else _legacy(reader)


# The zip container


def _zip(reader: BoundedReader) -> PyTorchContainer:
    members = _of_one_root(reader, read_zip(reader))
    order = members.get("byteorder")
    if order is not None and reader.bytes[order.offset : order.offset + order.size] != b"little":
        raise reader.error("member 'byteorder'", "does not say little; the numbers cannot be read", order.offset)
    pickled = members["data.pkl"]
    reader.position, reader.stop = pickled.offset, pickled.offset + pickled.size
    value = read_pickle(reader, "data.pkl")
    if reader.position != reader.stop:
        raise reader.error("data.pkl", "something follows its end")
    sizes = {name.removeprefix("data/"): member.size for name, member in members.items() if name.startswith("data/")}
    return _container(reader, "zip", value, sizes)


def _of_one_root(reader: BoundedReader, members: Mapping[str, Member]) -> dict[str, Member]:
    """The members by their names below the one folder that they lie in."""
    roots = {name.partition("/")[0] for name in members}
    inner = {name.partition("/")[2]: member for name, member in members.items()}
    if len(roots) != 1 or "data.pkl" not in inner:
        raise reader.error("archive", "is no checkpoint: it has no data.pkl in one folder with all the rest", 0)
    for name, member in inner.items():
        if name not in _SMALL_MEMBERS and not name.startswith(("data/", ".")):
            kind = (
                "a TorchScript program" if name.startswith(("code/", "constants.pkl")) else "not written by torch.save"
            )
            raise reader.error(
                f"member {member.name!r}", f"the archive is {kind}, not a checkpoint of tensors", member.offset
            )
    return inner


# The legacy container


def _legacy(reader: BoundedReader) -> PyTorchContainer:
    reader.position = len(LEGACY_PYTORCH)
    reader.limit_header()
    if read_pickle(reader, "version") != _PROTOCOL:
        raise reader.error("version", f"is not {_PROTOCOL}")
    machine = read_pickle(reader, "machine")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise reader.error("machine", "was not little-endian; the numbers cannot be read")
    value = read_pickle(reader, "tensors", views=True)
    keys = read_pickle(reader, "keys of storages")
    reader.stop = reader.size
    return _container(reader, "legacy", value, _legacy_sizes(reader, value, keys))


def _legacy_sizes(reader: BoundedReader, value: Value, keys: Value) -> dict[str, int]:
    """The bytes of each storage, seen to lie one behind the other up to the end of the file."""
    storages = {tensor.storage.key: tensor.storage for tensor in _tensors(reader, value).values()}
    if not isinstance(keys, list) or sorted(map(repr, keys)) != sorted(map(repr, storages)):
        raise reader.error("keys of storages", "are not those that the tensors lie in, each once")
    sizes: dict[str, int] = {}
    for key in keys:
        storage = storages[str(key)]
        field = f"storage {storage.key!r}"
        numel = reader.u64(f"size of {field}")
        if numel != storage.numel:
            raise reader.error(field, f"has {numel} numbers; its tensors say {storage.numel}", reader.position - 8)
        sizes[storage.key] = numel * DTYPES[storage.dtype] // 8
        reader.require(sizes[storage.key], field)
        reader.position += sizes[storage.key]
    if reader.position != reader.size:
        raise reader.error("data", "something follows the last storage")
    return sizes


# Either


def _container(
    reader: BoundedReader, kind: Literal["zip", "legacy"], value: Value, sizes: Mapping[str, int]
) -> PyTorchContainer:
    stated = _tensors(reader, value)
    storages: dict[str, Storage] = {}
    for name, tensor in stated.items():
        storage = tensor.storage
        if storages.setdefault(storage.key, storage) != storage:
            raise reader.error(
                f"tensor {name!r}", f"says something else of storage {storage.key!r} than a tensor before"
            )
        _check_storage(reader, name, storage, sizes)
        _check_inside(reader, name, tensor)
    tensors = {name: PyTorchTensor(name, tensor.storage.dtype, tensor.shape) for name, tensor in stated.items()}
    return PyTorchContainer(reader.path, kind, tensors, sum(sizes[key] for key in storages))


def _tensors(reader: BoundedReader, value: Value) -> dict[str, StridedTensor]:
    if not isinstance(value, dict):
        raise reader.error("checkpoint", f"is a {type(value).__name__}, not a dictionary of tensors")
    if len(value) > MAX_TENSORS:
        raise reader.error("checkpoint", f"has more than {MAX_TENSORS} tensors")
    tensors: dict[str, StridedTensor] = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, StridedTensor):
            raise reader.error(
                f"entry {name!r}", f"is a {type(tensor).__name__}, not a tensor; only plain weights are read"
            )
        tensors[name] = tensor
    return tensors


def _check_storage(reader: BoundedReader, name: str, storage: Storage, sizes: Mapping[str, int]) -> None:
    needed = storage.numel * DTYPES[storage.dtype] // 8
    if sizes.get(storage.key) != needed:
        held = "is not there" if storage.key not in sizes else f"has {sizes[storage.key]} bytes"
        reason = f"needs {needed} bytes of storage {storage.key!r}, which {held}"
        raise reader.error(f"tensor {name!r}", reason)


def _check_inside(reader: BoundedReader, name: str, tensor: StridedTensor) -> None:
    """See that a tensor reads no number that its storage does not have, nor more numbers than it has."""
    count = prod(tensor.shape)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if count > tensor.storage.numel or (count and last >= tensor.storage.numel):
        reason = f"of shape {list(tensor.shape)} does not lie inside its storage of {tensor.storage.numel} numbers"
        raise reader.error(f"tensor {name!r}", reason)

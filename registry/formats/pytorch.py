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
from .pickle_values import Pickle, Storage, StridedTensor, Value, read_pickle
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
    pickle = read_pickle(reader, "data.pkl")
    if reader.position != reader.stop:
        raise reader.error("data.pkl", "something follows its end")
    sizes = {name.removeprefix("data/"): member.size for name, member in members.items() if name.startswith("data/")}
    return _container(reader, "zip", pickle, sizes)


def _of_one_root(reader: BoundedReader, members: Mapping[str, Member]) -> dict[str, Member]:
    """The members by their names below the one folder that they lie in."""
    roots = {name.partition("/")[0] for name in members}
    inner = {name.partition("/")[2]: member for name, member in members.items()}
    if len(roots) != 1 or "data.pkl" not in inner:
        raise reader.error("archive", "is no checkpoint: it has no data.pkl in one folder with all the rest", 0)
    for name, member in inner.items():
        if name not in _SMALL_MEMBERS and not name.startswith(("data/", ".")):
            script = name.startswith(("code/", "constants.pkl"))
            kind = "a TorchScript program" if script else "not written by torch.save"
            reason = f"the archive is {kind}, not a checkpoint of tensors"
            raise reader.error(f"member {member.name!r}", reason, member.offset)
    return inner


# The legacy container


def _legacy(reader: BoundedReader) -> PyTorchContainer:
    reader.position = len(LEGACY_PYTORCH)
    reader.limit_header()
    if read_pickle(reader, "version").value != _PROTOCOL:
        raise reader.error("version", f"is not {_PROTOCOL}")
    machine = read_pickle(reader, "machine").value
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise reader.error("machine", "was not little-endian; the numbers cannot be read")
    pickle = read_pickle(reader, "tensors", views=True)
    keys = read_pickle(reader, "keys of storages").value
    reader.stop = reader.size
    return _container(reader, "legacy", pickle, _legacy_sizes(reader, pickle.storages, keys))


def _legacy_sizes(reader: BoundedReader, storages: Mapping[str, Storage], keys: Value) -> dict[str, int]:
    """The bytes of each storage, seen to lie one behind the other up to the end of the file."""
    if not isinstance(keys, list) or sorted(map(repr, keys)) != sorted(map(repr, storages)):
        raise reader.error("keys of storages", "are not those that the tensors lie in, each once")
    sizes: dict[str, int] = {}
    for key in map(str, keys):
        field = f"storage {key!r}"
        numel = reader.u64(f"size of {field}")
        if numel != storages[key].numel:
            reason = f"has {numel} numbers; the tensors say {storages[key].numel}"
            raise reader.error(field, reason, reader.position - 8)
        sizes[key] = _nbytes(storages[key])
        reader.pass_over(sizes[key], field)
    if reader.position != reader.size:
        raise reader.error("data", "something follows the last storage")
    return sizes


# Either


def _container(
    reader: BoundedReader, kind: Literal["zip", "legacy"], pickle: Pickle, sizes: Mapping[str, int]
) -> PyTorchContainer:
    for key, storage in pickle.storages.items():
        if sizes.get(key) != _nbytes(storage):
            held = f"has {sizes[key]} bytes" if key in sizes else "is not there"
            raise reader.error(f"storage {key!r}", f"{held}; its tensors need {_nbytes(storage)}")
    return PyTorchContainer(
        reader.path, kind, _tensors(reader, pickle.value), sum(map(_nbytes, pickle.storages.values()))
    )


def _tensors(reader: BoundedReader, value: Value) -> dict[str, PyTorchTensor]:
    if not isinstance(value, dict):
        raise reader.error("checkpoint", f"is a {type(value).__name__}, not a dictionary of tensors")
    if len(value) > MAX_TENSORS:
        raise reader.error("checkpoint", f"has more than {MAX_TENSORS} tensors")
    tensors: dict[str, PyTorchTensor] = {}
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, StridedTensor):
            reason = f"is a {type(tensor).__name__}, not a tensor; only plain weights are read"
            raise reader.error(f"entry {name!r}", reason)
        tensors[name] = PyTorchTensor(name, tensor.storage.dtype, tensor.shape)
    return tensors


def _nbytes(storage: Storage) -> int:
    return storage.numel * DTYPES[storage.dtype] // 8

"""Writing a GGUF that is there whole or not at all: the header first, then a tensor at a time as it is made.

The `gguf` package writes the format; this file decides when bytes reach the disk. A draft beside the target takes them
and gets its name when it is synced. Knows neither models nor where numbers come from.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor

from ...registry.errors import FileTaken
from ...registry.formats.ggml_types import GGML_TYPES_BY_NAME
from ...registry.store import check_space, put_in_place, writing

if TYPE_CHECKING:
    import gguf

_HEADER_ROOM: Final = 64 << 20  # a generous guess at what a vocabulary takes


@dataclass(frozen=True, slots=True)
class Value:
    """A key's value and GGUF's word for its type ("UINT32"); of an array, that of its items."""

    value: Any
    kind: str

    @property
    def is_array(self) -> bool:
        return isinstance(self.value, Sequence) and not isinstance(self.value, str)


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that will be written. `make` gives its numbers, or the packed rows of a kind of blocks."""

    name: str
    kind: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        kind, count = GGML_TYPES_BY_NAME[self.kind], 1
        for size in self.shape:
            count *= size
        return count // kind.elements * kind.nbytes


def write_gguf(
    target: Path, keys: Mapping[str, Value], tensors: Sequence[Planned], tell: Callable[[int, int], None]
) -> int:
    """Write the file, and return its size. `tell` hears the bytes of tensors that are written, and of all of them.

    Raises `FileTaken` where there is one of that name, `DiskFull` before anything is written.
    """
    if target.exists():
        raise FileTaken(target)
    total = sum(one.nbytes for one in tensors)
    check_space(target.parent, total + _HEADER_ROOM)
    with writing(target), _draft(target) as draft:
        _write(draft, keys, tensors, lambda done: tell(done, total))
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        put_in_place(draft, target)
    return target.stat().st_size


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    draft = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _write(draft: Path, keys: Mapping[str, Value], tensors: Sequence[Planned], tell: Callable[[int], None]) -> None:
    import gguf  # late: it takes a while, and a command's help need not wait for it

    architecture = str(keys["general.architecture"].value)
    writer = gguf.GGUFWriter(draft, architecture)
    for name, one in keys.items():
        if name != "general.architecture":
            _add(writer, name, one)
    for tensor in tensors:
        _announce(writer, tensor)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        done = 0
        for tensor in tensors:
            writer.write_tensor_data(_stored(tensor))
            done += tensor.nbytes
            tell(done)
    finally:
        writer.close()


def _add(writer: "gguf.GGUFWriter", name: str, one: Value) -> None:
    import gguf

    kind = gguf.GGUFValueType[one.kind]
    if one.is_array:
        writer.add_key_value(name, list(one.value), gguf.GGUFValueType.ARRAY, sub_type=kind)
    else:
        writer.add_key_value(name, one.value, kind)


def _announce(writer: "gguf.GGUFWriter", tensor: Planned) -> None:
    import gguf
    import numpy as np

    plain = {"F32": np.float32, "F16": np.float16}
    if tensor.kind in plain:
        writer.add_tensor_info(tensor.name, list(tensor.shape), np.dtype(plain[tensor.kind]), tensor.nbytes)
        return
    kind = GGML_TYPES_BY_NAME[tensor.kind]
    width = tensor.shape[-1] // kind.elements * kind.nbytes
    rows = [*tensor.shape[:-1], width]
    raw = gguf.GGMLQuantizationType[tensor.kind]
    writer.add_tensor_info(tensor.name, rows, np.dtype(np.uint8), tensor.nbytes, raw_dtype=raw)


def _stored(tensor: Planned) -> Any:
    import torch

    made = tensor.make()
    if made.dtype is torch.bfloat16:
        made = made.view(torch.uint8)
    if made.nbytes != tensor.nbytes:
        raise ValueError(f"{tensor.name} came as {made.nbytes} bytes where {tensor.nbytes} were planned")
    return made.contiguous().numpy()

"""The bytes of weight files as tensors that lie in the files themselves.

A file is mapped copy-on-write: the pages are the kernel's own, shared between processes, and nothing is read before it
is used. Knows where tensors lie, not what they are for.
"""

import mmap
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...models.contract import Part, WeightMetadata
from ...models.errors import WeightsError
from ...registry.errors import FormatError
from ...registry.formats.reader import open_regular
from ...registry.formats.view import TensorView

# Python names this flag from 3.13 on. Without it, Linux refuses a private map larger than the machine's memory.
_NO_RESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)


def map_file(path: Path) -> mmap.mmap:
    """All bytes of a file. They go when the last tensor that lies in them does."""
    descriptor = open_regular(path)
    try:
        return _private_map(descriptor)
    except (OSError, ValueError) as error:
        raise FormatError(path, "file", f"cannot be mapped: {error}") from error
    finally:
        os.close(descriptor)


def _private_map(descriptor: int) -> mmap.mmap:
    # A private map is writable as far as torch can see, which spares a warning; a write would never reach the file.
    if sys.platform == "linux":
        flags = mmap.MAP_PRIVATE | _NO_RESERVE
        return mmap.mmap(descriptor, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)


class MappedWeights:
    """What the loaders of mapped formats have in common: names, and the bytes behind each."""

    def __init__(self, metadata: WeightMetadata, views: Mapping[str, TensorView]) -> None:
        self._metadata = metadata
        self._views = views
        self._files: dict[Path, mmap.mmap] = {}

    @property
    def metadata(self) -> WeightMetadata:
        return self._metadata

    def tensor_names(self) -> list[str]:
        return list(self._views)

    def has_tensor(self, name: str) -> bool:
        return name in self._views

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in memory, once they are used."""
        return sum(view.nbytes for view in self._views.values())

    def view(self, name: str) -> TensorView:
        try:
            return self._views[name]
        except KeyError:
            raise WeightsError(f"the checkpoint has no tensor {name!r}", missing=[name]) from None

    def raw(self, view: TensorView) -> Tensor:
        """The bytes of one tensor, where they lie."""
        if view.file not in self._files:
            self._files[view.file] = map_file(view.file)
        found = torch.frombuffer(self._files[view.file], dtype=torch.uint8)[view.offset : view.offset + view.nbytes]
        if found.numel() != view.nbytes:
            raise FormatError(view.file, f"tensor {view.name!r}", "is no longer there: the file changed", view.offset)
        return found

    def release(self, name: str) -> None:
        """Let go of the pages that hold this tensor alone. Whoever reads it again gets them from the file again."""
        view = self.view(name)
        start, stop = -(-view.offset // mmap.PAGESIZE), (view.offset + view.nbytes) // mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED") and view.file in self._files and stop > start:
            length = (stop - start) * mmap.PAGESIZE
            self._files[view.file].madvise(mmap.MADV_DONTNEED, start * mmap.PAGESIZE, length)

    def dense(self, view: TensorView, dtype: torch.dtype) -> Tensor:
        """The tensor, in the file where its address suits its dtype."""
        raw = self.raw(view)
        if view.offset % dtype.itemsize:
            raw = raw.clone()
        return raw.view(dtype).view(view.shape) if view.nbytes else torch.empty(view.shape, dtype=dtype)


def narrow(tensor: Tensor, part: Part | None) -> Tensor:
    return tensor if part is None else tensor.narrow(part.dim, part.start, part.stop - part.start)

"""Weights in PyTorch checkpoints: the one call of `torch.load` there is, behind a check of the whole container.

A zip container is mapped; the legacy one has to be read into memory. There is no second, less careful way to load.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Final, Self

import torch
from torch import Tensor

from ...models.contract import Part, WeightMetadata
from ...models.errors import WeightsError
from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.pytorch import PyTorchContainer, check_pytorch
from .config import folder_metadata
from .mapping import narrow
from .safetensors import DTYPES, first_matrix

_REFUSALS: Final = (UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, EOFError, OSError)


class PyTorchWeights:
    """One file, or the shards of one model. A file is loaded when the first of its tensors is asked for."""

    def __init__(self, metadata: WeightMetadata, containers: list[PyTorchContainer]) -> None:
        self._metadata = metadata
        self._containers = containers
        self._homes = _homes(containers)
        self._loaded: dict[Path, dict[str, Tensor]] = {}

    @classmethod
    def open(cls, files: ModelFiles) -> Self:
        metadata = folder_metadata(files)
        return cls(metadata, [check_pytorch(path) for path in files.weights])

    @property
    def metadata(self) -> WeightMetadata:
        return self._metadata

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in memory, once they are used."""
        return sum(container.storage_bytes for container in self._containers)

    @property
    def stored_dtype(self) -> torch.dtype | None:
        """That of the first matrix of floating point."""
        tensors = (tensor for container in self._containers for tensor in container.tensors.values())
        return first_matrix((tensor.dtype, tensor.shape) for tensor in tensors)

    def tensor_names(self) -> list[str]:
        return list(self._homes)

    def has_tensor(self, name: str) -> bool:
        return name in self._homes

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        if name not in self._homes:
            raise WeightsError(f"the checkpoint has no tensor {name!r}", missing=[name])
        home = self._homes[name]
        if home.file not in self._loaded:
            self._loaded[home.file] = _load(home)
        return narrow(self._loaded[home.file][name], part)

    def release(self, name: str) -> None:
        """Nothing: no tensor of this format is packed."""


def _homes(containers: list[PyTorchContainer]) -> dict[str, PyTorchContainer]:
    homes: dict[str, PyTorchContainer] = {}
    for container in containers:
        for name in container.tensors:
            if name in homes:
                raise FormatError(container.file, f"tensor {name!r}", f"is in {homes[name].file.name} already")
            homes[name] = container
    return homes


def _load(container: PyTorchContainer) -> dict[str, Tensor]:
    """The tensors of a checkpoint that was looked through, and is seen to have given just these."""
    path = container.file
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=container.kind == "zip")
    except _REFUSALS as error:
        raise FormatError(path, "file", f"torch does not load it: {error}") from error
    if not isinstance(found, dict) or found.keys() != container.tensors.keys():
        raise FormatError(path, "file", "torch finds other tensors in it than are there: the file changed")
    return {name: _plain(container, name, value) for name, value in found.items()}


def _plain(container: PyTorchContainer, name: str, value: object) -> Tensor:
    """The tensor itself, seen to be what the container says and to lie in memory that is there."""
    stated = container.tensors[name]
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        raise FormatError(container.file, f"tensor {name!r}", "is not a plain tensor")
    tensor = value.detach()
    inside = tensor.nbytes <= tensor.untyped_storage().nbytes()
    if tuple(tensor.shape) != stated.shape or tensor.dtype != DTYPES[stated.dtype] or not inside:
        raise FormatError(container.file, f"tensor {name!r}", f"is {tensor.dtype} {list(tensor.shape)} to torch")
    return tensor

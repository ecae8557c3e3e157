"""Weights in safetensors files: every tensor is a view of its mapped file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from ...models.contract import Part
from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.safetensors import read_safetensors
from ...registry.formats.view import TensorView
from .config import folder_metadata
from .mapping import MappedWeights, narrow

DTYPES: Final = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}


def first_matrix(tensors: Iterable[tuple[str, tuple[int, ...]]]) -> torch.dtype | None:
    """The dtype of the first of these words and shapes that is a matrix of floating point."""
    found = (DTYPES[dtype] for dtype, shape in tensors if len(shape) > 1 and dtype in DTYPES)
    return next((dtype for dtype in found if dtype.is_floating_point), None)


class SafeTensorsWeights(MappedWeights):
    """One file, or the shards of one model."""

    @classmethod
    def open(cls, files: ModelFiles) -> Self:
        return cls(folder_metadata(files), _tensors(files.weights))

    @property
    def stored_dtype(self) -> torch.dtype | None:
        """That of the first matrix of floating point."""
        return first_matrix((view.dtype, view.shape) for view in self._views.values())

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        view = self.view(name)
        if view.dtype not in DTYPES:
            raise FormatError(view.file, f"tensor {name!r}", f"torch has no dtype for {view.dtype}", view.offset)
        return narrow(self.dense(view, DTYPES[view.dtype]), part)


def _tensors(paths: Sequence[Path]) -> dict[str, TensorView]:
    tensors: dict[str, TensorView] = {}
    for path in paths:
        for name, view in read_safetensors(path).tensors.items():
            if name in tensors:
                raise FormatError(path, f"tensor {name!r}", f"is in {tensors[name].file.name} already")
            tensors[name] = view
    return tensors

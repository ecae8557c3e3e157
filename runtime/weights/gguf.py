"""Weights in GGUF files: plain tensors and the usual packed kinds are views of the mapped file.

The kinds that `models` computes with stay packed. Those whose blocks name points of a grid become four bits and a scale
in memory (`grids.py`); every other kind that the `gguf` package can decode becomes fp32. Tensors keep the file's names;
shapes are torch's, outermost first.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import torch
from torch import Tensor

from ...models.blocks import PACKED_KINDS, block_of
from ...models.contract import Part, Weight, WeightMetadata
from ...models.quantized import QuantizedTensor
from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.ggml_types import GGML_TYPES_BY_NAME
from ...registry.formats.gguf import GGUFValue
from ...registry.formats.limits import MAX_CONFIG_NUMBERS
from ...registry.formats.view import TensorView
from .grids import GRID_KINDS, on_grid
from .mapping import MappedWeights, narrow

DTYPES: Final = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}

# What `gguf.quants` decodes beyond the packed kinds and those of grids.
DECODED_KINDS: Final = frozenset(("TQ1_0", "TQ2_0", "NVFP4"))


class GGUFWeights(MappedWeights):
    """One file, or the shards of one model."""

    @classmethod
    def open(cls, files: ModelFiles) -> Self:
        header = files.gguf
        architecture = header.metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise FormatError(files.weights[0], "'general.architecture'", "does not name an architecture")
        for view in header.tensors.values():
            _check_kind(view)
        config = _config(files, header.metadata)
        return cls(WeightMetadata("gguf", architecture, config), header.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in memory, once they are used."""
        return sum(_resident(view) for view in self._views.values())

    @property
    def stored_dtype(self) -> torch.dtype | None:
        """None: a GGUF mixes packed and plain tensors."""
        return None

    def load_tensor(self, name: str, part: Part | None = None) -> Weight:
        view = self.view(name)
        if view.dtype in DTYPES:
            return narrow(self.dense(view, DTYPES[view.dtype]), part)
        if view.dtype in PACKED_KINDS:
            packed = QuantizedTensor(view.dtype, view.shape, self._rows(view))
            return packed if part is None else packed.part(part)
        if view.dtype in GRID_KINDS:
            data = on_grid(view.dtype, self._rows(view))
            self.release(name)
            whole = QuantizedTensor(GRID_KINDS[view.dtype], view.shape, data)
            return whole if part is None else whole.part(part)
        return narrow(_decode(view, self._rows(view)), part)

    def _rows(self, view: TensorView) -> Tensor:
        """The packed rows, uint8 [rows, bytes of a row]."""
        kind = GGML_TYPES_BY_NAME[view.dtype]
        return self.raw(view).view(-1, view.shape[-1] // kind.elements * kind.nbytes)


def _decode(view: TensorView, rows: Tensor) -> Tensor:
    # Imported here because it brings tables of every kind, which few models need.
    import gguf
    import numpy as np

    try:
        with np.errstate(all="ignore"):
            numbers = gguf.quants.dequantize(rows.numpy(), gguf.GGMLQuantizationType[view.dtype])
    except (KeyError, NotImplementedError) as error:
        reason = f"is of type {view.dtype}, which the installed gguf package does not decode; a newer one may"
        raise FormatError(view.file, f"tensor {view.name!r}", reason, view.offset) from error
    return torch.from_numpy(numbers).view(view.shape)


def _check_kind(view: TensorView) -> None:
    if not any(view.dtype in kinds for kinds in (DTYPES, PACKED_KINDS, GRID_KINDS, DECODED_KINDS)):
        reason = f"is of type {view.dtype}, which nothing here decodes"
        raise FormatError(view.file, f"tensor {view.name!r}", reason, view.offset)


def _resident(view: TensorView) -> int:
    if view.dtype in GRID_KINDS:
        block = block_of(GRID_KINDS[view.dtype])
        return view.num_elements // block.elements * block.nbytes
    return 4 * view.num_elements if view.dtype in DECODED_KINDS else view.nbytes


def _config(files: ModelFiles, metadata: Mapping[str, GGUFValue]) -> dict[str, Any]:
    """The key-values as plain values."""
    config: dict[str, Any] = {}
    numbers = 0
    for key, value in metadata.items():
        if isinstance(value, bool | int | float | str):
            config[key] = value
            continue
        numbers += len(value)
        if numbers > MAX_CONFIG_NUMBERS:
            raise FormatError(files.weights[0], repr(key), f"arrays hold more than {MAX_CONFIG_NUMBERS} numbers")
        config[key] = list(value)
    return config

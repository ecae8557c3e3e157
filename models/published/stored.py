"""The tensors of one packed matrix, by the ends of their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ..errors import WeightsError

FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True, slots=True)
class Stored:
    """`name` is what stands before the ends: "model.layers.0.mlp.up_proj"."""

    name: str
    tensors: Mapping[str, Tensor]

    def has(self, end: str) -> bool:
        return end in self.tensors

    def take(self, end: str, *dtypes: torch.dtype) -> Tensor:
        """The tensor with this end. Raises `WeightsError` where there is none, or one of another dtype."""
        if end not in self.tensors:
            raise WeightsError(
                f"{self.name} is packed, and {self.name}.{end} is missing", missing=[f"{self.name}.{end}"]
            )
        tensor = self.tensors[end]
        if tensor.dtype not in dtypes:
            wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise self.error(end, f"is {str(tensor.dtype).removeprefix('torch.')} where {wanted} belongs")
        return tensor

    def matrix(self, end: str, *dtypes: torch.dtype) -> Tensor:
        """The same, of two dimensions."""
        tensor = self.take(end, *dtypes)
        if tensor.dim() != 2 or not tensor.numel():
            raise self.error(end, f"is {list(tensor.shape)} where a matrix belongs")
        return tensor

    def expect(self, end: str, shape: tuple[int, ...]) -> None:
        """Raise unless the tensor has this shape."""
        found = tuple(self.tensors[end].shape)
        if found != shape:
            raise self.error(end, f"is {list(found)} where {list(shape)} belongs beside the others of its matrix")

    def error(self, end: str, reason: str) -> WeightsError:
        return WeightsError(f"{self.name}.{end} {reason}", misshapen=[f"{self.name}.{end}"])

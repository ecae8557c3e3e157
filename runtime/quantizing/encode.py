"""A matrix of numbers as a kind of a GGUF holds it."""

from typing import Final

import torch
from torch import Tensor

from ...models.encoding import quantize
from ...models.quantized import QuantizedTensor

PLAIN: Final = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def encoded(kind: str, weight: Tensor | QuantizedTensor) -> Tensor:
    """The numbers of `weight` in a plain kind, or as packed rows of uint8; what is of that kind already stays as it is.

    Raises `WeightsError` where the kind cannot hold them.
    """
    if isinstance(weight, QuantizedTensor):
        if weight.kind == kind:
            return weight.data
        weight = weight.dequantize()
    if kind in PLAIN:
        return weight.to(PLAIN[kind])
    return quantize(kind, weight.reshape(-1, weight.shape[-1]))

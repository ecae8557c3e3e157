"""Model Optimizer: 8-bit floats as in `float8.py`, or those of four bits as in `nvfp4.py`, matrix by matrix.

Which one a matrix is, its dtype says. Its older files say what they are in a file of their own, hf_quant_config.json.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..quantized import QuantizedTensor
from . import nvfp4
from .float8 import KINDS, Float8
from .stored import Stored


@dataclass(frozen=True, slots=True)
class ModelOptimizer:
    marks: ClassVar[tuple[str, ...]] = ("weight_scale",)
    others: ClassVar[tuple[str, ...]] = ("weight", "weight_scale_2", "input_scale")

    def read(self, stored: Stored) -> QuantizedTensor:
        weight = stored.matrix("weight", torch.uint8, *KINDS)
        return nvfp4.read_optimized(stored, weight) if weight.dtype == torch.uint8 else Float8().read(stored)

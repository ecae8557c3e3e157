"""MXFP4 as files of safetensors have it: neighbours in a byte, and the powers of two apart."""

from typing import Final

import torch
from torch import Tensor

KIND: Final = "MXFP4"
BLOCK: Final = 32


def blocks(numbers: Tensor, powers: Tensor) -> Tensor:
    """[.., blocks, 16 bytes] and [.., blocks] -> [.., blocks, 17 bytes] as GGML has them: the power, then the first
    half of a block in the low four bits of 16 bytes and the second in the high ones.
    """
    each = torch.stack((numbers & 15, numbers >> 4), -1).flatten(-2)
    low, high = each.chunk(2, -1)
    return torch.cat((powers[..., None], low | high << 4), -1)

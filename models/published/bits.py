"""Small numbers out of the bytes that they share."""

import torch
from torch import Tensor

WIDTHS = (2, 3, 4, 8)


def fields(packed: Tensor, bits: int) -> Tensor:
    """Rows of a stream of `bits`-wide numbers, the lowest bits first: any whole type [rows, n] -> uint8."""
    data = packed.contiguous().view(torch.uint8)
    if bits == 8:
        return data
    if bits == 3:
        return _threes(data)
    return torch.stack([data >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -1).flatten(-2)


def _threes(data: Tensor) -> Tensor:
    """Eight numbers in three bytes."""
    first, second, third = data.view(len(data), -1, 3).to(torch.int32).unbind(-1)
    word = first | second << 8 | third << 16
    return torch.stack([word >> shift & 7 for shift in range(0, 24, 3)], -1).flatten(-2).to(torch.uint8)

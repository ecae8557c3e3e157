"""Draws tokens where a device's kernel makes the noise itself: of what is told about each row, in one copy.

There every kind of step draws a request this way, so that its seed means one text; it means another one where rows are
drawn by a number of the host. It knows neither requests nor steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.ops import gpu
from ..models.ops.operands import Choosing


class Told(NamedTuple):
    """Of one row; as `Choosing` has it of all."""

    temperature: float
    top_p: float
    min_p: float
    top_k: int
    seed: int
    place: int


def packed(rows: Sequence[Told]) -> NDArray[np.int64]:
    """What `draw` wants to find on the device."""
    odds = np.array([row[:3] for row in rows], dtype=np.float64).T.reshape(-1)
    return np.concatenate((odds.view(np.int64), np.array([row[3:] for row in rows], dtype=np.int64).T.reshape(-1)))


def draw(scores: Tensor, told: Tensor) -> Tensor:
    """A token int64 for each row of `scores` [rows, vocabulary]; `told` is what was packed of them."""
    odds, whole = told.view(2, 3, -1).unbind()
    heat, top_p, min_p = odds.view(torch.float64).unbind()
    top_k, seeds, places = whole.unbind()
    chosen = torch.empty(len(scores), dtype=torch.int64, device=scores.device)
    best = torch.empty(len(scores), dtype=torch.float32, device=scores.device)
    gpu.choose(scores, Choosing(heat, top_p, min_p, top_k, seeds, places), chosen, best)
    return chosen

"""The tensors that rows of recurrent state stand for, and how many rows memory holds."""

from collections.abc import Sequence
from typing import Final

import torch

from ...models.contract import StateLayer
from ..errors import NotEnoughMemory
from .slots import LEAST

SNAPSHOTS: Final = 64  # at least room for so many, where memory allows


class StatePool:
    """The tensors of `rows` rows, for each of `layers`: by name [rows, *shape]. Until a row is written, anything is in
    it; on a CPU it takes no memory till then.
    """

    def __init__(self, layers: Sequence[StateLayer], rows: int, device: torch.device) -> None:
        self.rows = rows
        self.nbytes = rows * sum(layer.nbytes for layer in layers)
        self.tensors = [
            {name: torch.empty(rows, *t.shape, dtype=t.dtype, device=device) for name, t in layer.tensors.items()}
            for layer in layers
        ]


def plan_rows(layers: Sequence[StateLayer], memory: int, sequences: int) -> int:
    """As many rows as `memory` bytes hold: at most what so many sequences use, and as much again for snapshots."""
    size = sum(layer.nbytes for layer in layers)
    if not size:
        return 0
    rows = min(memory // size, 2 * sequences + max(2 * sequences, SNAPSHOTS))
    if rows < LEAST:
        raise NotEnoughMemory(LEAST * size, memory, "the recurrent state of a sequence")
    return rows

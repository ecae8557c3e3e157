"""Sequences of recurrent layers: some begin, some go on from a state, as single tokens and as chunks."""

from typing import Final

import torch
from torch import Tensor

from unillm.models.contract import Batch, StateLayer, StateTensor, StateView, state_rows

CPU: Final = torch.device("cpu")
COUNTS: Final = (1, 1, 70, 5, 1, 33)  # single tokens, chunks longer than a block, and single ones again
CHANNELS: Final = 6
SIZE: Final = 4
TAPS: Final = 4


def batch_of(tensor: StateTensor) -> tuple[Batch, StateView]:
    """Sequences of `COUNTS` tokens; every other one begins, the others go on from states that are anything."""
    torch.manual_seed(2)
    rows = state_rows(StateLayer({"kept": tensor}), 2 * len(COUNTS), CPU)
    rows["kept"].normal_()
    rows["kept"][0] = torch.nan  # a fresh sequence's row may hold anything
    numbers = torch.arange(len(COUNTS))
    view = StateView(rows, numbers, numbers + len(COUNTS), numbers % 2 == 0)
    starts = torch.tensor([0, *COUNTS]).cumsum(0).int()
    tokens = torch.zeros(sum(COUNTS), dtype=torch.int64)
    lengths = torch.tensor(COUNTS, dtype=torch.int32)
    return Batch(tokens, tokens, tokens[:0], COUNTS, COUNTS, starts, lengths, [view]), view


def before(view: StateView, row: int) -> Tensor:
    state = view.tensors["kept"][row].double()
    return torch.zeros_like(state) if view.fresh[row] else state

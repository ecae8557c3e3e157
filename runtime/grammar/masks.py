"""From what guides allow to scores: every token that may not come is out of the question.

The bits of all rows cross to the device in one copy and are applied there at once.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import GrammarFailed
from .guide import ALL, Bits, Guide

SEVERAL: Final = 4  # guides, from which on it pays to ask them in several threads


class Wanted(NamedTuple):
    """The row of scores that `guide` is asked for, which has not seen yet what is `guessed`."""

    row: int
    guide: Guide
    guessed: Sequence[int] = ()


def allow(scores: Tensor, wanted: Sequence[Wanted]) -> tuple[Tensor, dict[int, GrammarFailed]]:
    """`scores` [rows, vocabulary] with -inf for what may not come, and the rows whose guides failed.

    Rows of one guide stand together, each guessing on from the one before.
    """
    failed: dict[int, GrammarFailed] = {}
    forbidden = _unpacked(~_bits(wanted, failed), scores)
    lowest = torch.finfo(scores.dtype).min  # what the model itself rules out stays above what may not come
    if len(wanted) == len(scores):
        return scores.clamp(min=lowest).masked_fill_(forbidden, -torch.inf), failed
    rows = [one.row for one in wanted]
    changed = scores.clone()
    changed[rows] = scores[rows].clamp_(min=lowest).masked_fill_(forbidden, -torch.inf)
    return changed, failed


def _bits(wanted: Sequence[Wanted], failed: dict[int, GrammarFailed]) -> Bits:
    """What may come, a row each; where a guide failed, everything."""
    bits: Bits = np.zeros((len(wanted), wanted[0].guide.words), dtype=np.uint32)
    together = len(wanted) >= SEVERAL and not any(one.guessed for one in wanted)
    if together:
        asked = [(one.guide.matcher, place) for place, one in enumerate(wanted)]
        wanted[0].guide.crew.unsafe_compute_mask_ptr(asked, bits.ctypes.data, bits.strides[0], len(bits))
    start = 0
    for guide, group in groupby(wanted, key=lambda one: one.guide):
        members = list(group)
        mine = bits[start : start + len(members)]
        start += len(members)
        if together:
            guide.end(mine[0])
        else:
            guide.fill(mine, [one.guessed for one in members])
        failure = guide.failure or (None if mine[0].any() else "no token of this model's may follow")
        if failure is not None:
            mine[:] = ALL
            failed |= {one.row: GrammarFailed(failure) for one in members}
    return bits


def _unpacked(bits: Bits, scores: Tensor) -> Tensor:
    """Bits as booleans [rows, vocabulary], where the scores are."""
    packed, vocabulary = bits.view(np.uint8), scores.shape[-1]
    if scores.device.type == "cpu":
        spread = np.unpackbits(packed, axis=1, count=vocabulary, bitorder="little")
        return torch.from_numpy(spread.view(np.bool_))
    return spread_on_device(torch.from_numpy(packed).to(scores.device), vocabulary)


def spread_on_device(packed: Tensor, vocabulary: int) -> Tensor:
    """The same of bytes [rows, bytes] that are there already."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    return (packed[:, :, None] >> places & 1).flatten(1)[:, :vocabulary].bool()

"""From what guides allow to scores: every token that may not come is out of the question.

The bits of all rows cross to the device in one copy and are applied there at once.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import GrammarFailed
from .guide import Bits, Guide


class Wanted(NamedTuple):
    """The row of scores that `guide` is asked for, what it has not seen yet being `guessed`."""

    row: int
    guide: Guide | None
    guessed: Sequence[int] = ()


def allow(scores: Tensor, wanted: Sequence[Wanted]) -> tuple[Tensor, dict[int, GrammarFailed]]:
    """`scores` [rows, vocabulary] with -inf for what may not come, and the rows whose guides failed.

    The same tensor where all may come. Rows of one guide stand together, each guessing on from the one before.
    """
    guided = [one for one in wanted if one.guide is not None]
    if not guided:
        return scores, {}
    failed: dict[int, GrammarFailed] = {}
    rows, bits = [one.row for one in guided], _bits(guided, failed)
    picked = scores if len(rows) == len(scores) else scores[rows]
    lowest = torch.finfo(scores.dtype).min  # what the model itself rules out stays above what may not come
    forbidden = _unpacked(torch.from_numpy(bits.view(np.uint8)).to(scores.device), scores.shape[-1])
    masked = picked.clamp(min=lowest).masked_fill_(forbidden, -torch.inf)
    if picked is scores:
        return masked, failed
    changed = scores.clone()
    changed[rows] = masked
    return changed, failed


def _bits(guided: Sequence[Wanted], failed: dict[int, GrammarFailed]) -> Bits:
    """What may come, a row each; of a guide that failed, everything."""
    words = max(one.guide.words for one in guided if one.guide is not None)
    bits: Bits = np.zeros((len(guided), words), dtype=np.uint32)
    start = 0
    for guide, group in groupby(guided, key=lambda one: one.guide):
        members = list(group)
        mine = bits[start : start + len(members)]
        start += len(members)
        assert guide is not None
        guide.fill(mine[:, : guide.words], [one.guessed for one in members])
        failure = guide.failure or (None if mine[0].any() else "no token of this model's may follow")
        if failure is not None:
            mine[:] = ~np.uint32(0)
            failed |= {one.row: GrammarFailed(failure) for one in members}
    return bits


def _unpacked(packed: Tensor, vocabulary: int) -> Tensor:
    """Whether each token may not come [rows, vocabulary], of bytes that hold a bit for each that may."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    spread = packed[:, :, None] >> places & 1
    return spread.flatten(1)[:, :vocabulary] == 0

"""From what guides allow to scores: where a token was chosen that may not come, all such are out of the question.

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
    """The `token` that was chosen for a row of scores, which `guide` is asked about. It has not seen yet what is
    `guessed`.
    """

    row: int
    token: int
    guide: Guide
    guessed: Sequence[int] = ()


class Refused(NamedTuple):
    """The rows whose tokens may not come, their scores with -inf for all that may not, and whose guides failed."""

    rows: list[int]
    scores: Tensor  # [rows, vocabulary]
    failed: dict[int, GrammarFailed]


def refuse(scores: Tensor, wanted: Sequence[Wanted]) -> Refused:
    """Which choices from `scores` [rows, vocabulary] may not stand. To ask for one token is far cheaper than for all.

    Rows of one guide stand together, each guessing on from the one before.
    """
    refused = [one for guide, group in groupby(wanted, key=lambda one: one.guide) for one in _refused(guide, [*group])]
    rows, failed = [one.row for one in refused], dict[int, GrammarFailed]()
    if not rows:
        return Refused(rows, scores[:0], failed)
    bits = _bits(refused, failed)
    return Refused(rows, _held(scores if len(rows) == len(scores) else scores[rows], bits), failed)


def _refused(guide: Guide, group: list[Wanted]) -> list[Wanted]:
    """Those of one guide's rows whose tokens may not come; all of them where it cannot tell."""
    allowed = guide.allows([one.token for one in group], [one.guessed for one in group])
    if guide.failure is not None:
        return group
    return [one for one, may_come in zip(group, allowed, strict=True) if not may_come]


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


def _held(scores: Tensor, bits: Bits) -> Tensor:
    """`scores` with -inf where a bit is not set; what the model itself rules out stays above that.

    On a CPU by numpy: threads that torch wakes for so little stand in the way of the kernels' own.
    """
    packed, vocabulary = bits.view(np.uint8), scores.shape[-1]
    lowest = torch.finfo(scores.dtype).min
    if scores.device.type == "cpu":
        allowed = np.unpackbits(packed, axis=1, count=vocabulary, bitorder="little").view(np.bool_)
        return torch.from_numpy(np.where(allowed, np.maximum(scores.numpy(), lowest), -np.inf))
    allowed_there = spread_on_device(torch.from_numpy(packed).to(scores.device), vocabulary)
    return scores.clamp(min=lowest).masked_fill_(~allowed_there, -torch.inf)


def spread_on_device(packed: Tensor, vocabulary: int) -> Tensor:
    """Bits in bytes [rows, bytes] as booleans [rows, vocabulary]."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    return (packed[:, :, None] >> places & 1).flatten(1)[:, :vocabulary].bool()

"""How kernels are cut into blocks: tables, so that nothing is tuned while somebody waits.

Keys are what decides: the width of a head, how many bytes a number of the cache takes. The figures fit the shared
memory and registers of Hopper and Ampere; a kernel's result never depends on the number of its warps or stages.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Cut:
    """`tile` tokens, or columns, are looked at together; `stages` tiles are on their way at once."""

    tile: int
    warps: int
    stages: int
    rows: int = 16


# Tokens of one run of keys that a decoding program sums on its own. Fixed, so that a sequence is summed alike whatever
# runs beside it; the sums of runs are written once for so many keys, which is under 2 % of what is read.
RUN: Final = 512

# Of decoding: a few tiles must be on their way in every processor to fill the memory's latency, about 30 KB.
_DECODE: Final = {1: (128, 128, 64), 2: (128, 64, 32), 4: (64, 32, 16)}
_PREFILL_ROWS: Final = {2: (128, 128, 64), 4: (32, 16, 16)}
_PREFILL: Final = {2: (64, 64, 32), 4: (32, 32, 16)}


def decode_cut(width: int, itemsize: int) -> Cut:
    """For heads of `width` numbers (a power of two, at most 256) of `itemsize` bytes."""
    return Cut(_DECODE[itemsize][_class(width)], warps=4, stages=3)


def prefill_cut(width: int, itemsize: int) -> Cut:
    """`itemsize` is that of queries: what is computed in."""
    at = _class(width)
    rows = _PREFILL_ROWS[itemsize][at]
    return Cut(_PREFILL[itemsize][at], warps=8 if rows == 128 and width == 128 else 4, stages=2, rows=rows)


def _class(width: int) -> int:
    return 0 if width <= 64 else 1 if width <= 128 else 2

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


@dataclass(frozen=True, slots=True)
class ProductCut:
    """`height` outputs of `rows` rows over `tile` spans of columns (16 bytes of a packed weight, or so) at a time."""

    height: int
    rows: int
    tile: int
    warps: int
    stages: int = 1


# Rows whose products are summed without a matrix unit: with more, multiplying costs more than reading.
FEW: Final = 4

# Numbers of the weight that a thread has on its way, a span of each of several outputs: more share its activations, but
# where outputs are few, programs must be many.
_FEW_NUMBERS: Final = ((2048, 128), (0, 64))
_FEW_TILES: Final = (128, 64, 32)

# Of many rows, by the bytes of what is computed in: rows at most, and what they are cut into: outputs, rows, columns,
# warps. With few rows most of the work is to make numbers of the weight, and long tiles have less around it.
_MANY: Final = {
    2: ((16, 64, 16, 128, 4), (32, 64, 32, 128, 4), (64, 128, 64, 64, 4), (1 << 31, 128, 128, 64, 8)),
    4: ((16, 64, 16, 64, 4), (1 << 31, 64, 32, 32, 4)),
}
_FEWER: Final = 64  # rows that leave processors idle unless columns are shared out
_PROGRAMS: Final = 264  # two for each processor of an H200; the same for all, so that sums are cut alike
_LEAST_SHARE: Final = 512  # columns


def few_cut(outputs: int, columns: int, span: int) -> ProductCut:
    """For a weight of such a shape: the tile that leaves least of its last one idle."""
    spans, height = -(-columns // span), next(count for least, count in _FEW_NUMBERS if outputs >= least) // span
    tile = min(_FEW_TILES, key=lambda tile: (-(-spans // tile) * tile, -tile))
    return ProductCut(height, 1, tile, warps=tile // 32)


def many_cut(rows: int, span: int, itemsize: int) -> ProductCut:
    """For so many rows, computed in numbers of `itemsize` bytes."""
    _, height, block, columns, warps = next(cut for cut in _MANY[itemsize] if rows <= cut[0])
    return ProductCut(height, block, columns // span, warps, stages=3)


def splits_of(cut: ProductCut, outputs: int, columns: int) -> int:
    """Into how many shares the columns go, each a program's."""
    if cut.rows > _FEWER:
        return 1
    return max(1, min(_PROGRAMS // -(-outputs // cut.height), columns // _LEAST_SHARE, 8))

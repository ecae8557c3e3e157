# mypy: disable-error-code="assignment, no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""What a kind of packed weight is to a product: how its numbers are told, and how their scales.

A function of numbers gives a tile of some rows and TILE spans as SPAN / 8 parts, fp32 [rows, TILE, 8]: the first eight
columns of every span, the next eight. A function of scales gives what numbers of each span are times, and what is added
to that, fp32 [rows, TILE]. Spans are SPAN neighbouring columns, 16 bytes or so. All planes are those of `planes.py`.

Small numbers become floats without a conversion: a word's bits are masked where they are and set below those of 2^23,
which is then taken away. That is one instruction of each kind, if `unit`, the bits of 2^23, is no constant.
"""

from collections.abc import Mapping
from typing import Any, Final

import triton
import triton.language as tl

UNIT: Final = 0x4B000000  # the bits of 2^23
_UNIT_NUMBER: tl.constexpr = tl.constexpr(8388608.0)
_SIGN_AND_FLOAT: tl.constexpr = tl.constexpr(-0x7E400000)  # bits 31, and 22 to 24
_DOUBLED_FLOAT: tl.constexpr = tl.constexpr(2.0**127)


@triton.jit
def _field(word, unit, SHIFT: tl.constexpr, BITS: tl.constexpr, TIMES: tl.constexpr, LESS: tl.constexpr):
    """BITS of a word at SHIFT, which all lie below bit 23; times TIMES, less LESS. Every step is exact."""
    mask: tl.constexpr = ((1 << BITS) - 1) << SHIFT
    factor: tl.constexpr = TIMES / (1 << SHIFT)
    return ((word & mask) | unit).to(tl.float32, bitcast=True) * factor - (_UNIT_NUMBER * factor + LESS)


@triton.jit
def _nibble(word, far, unit, PLACE: tl.constexpr, LESS: tl.constexpr):
    shift: tl.constexpr = 4 * PLACE if PLACE < 5 else 4 * PLACE - 16
    return _field(word if PLACE < 5 else far, unit, shift, 4, 1.0, LESS)


@triton.jit
def _eight(a, b, c, d, e, f, g, h):
    """Eight columns [rows, spans] as one part."""
    even = tl.join(tl.join(a, e), tl.join(c, g))
    odd = tl.join(tl.join(b, f), tl.join(d, h))
    return tl.reshape(tl.join(even, odd), (a.shape[0], a.shape[1], 8))


@triton.jit
def _of_nibbles(word, unit, LESS: tl.constexpr):
    far = word >> 16
    return _eight(
        _nibble(word, far, unit, 0, LESS), _nibble(word, far, unit, 1, LESS),
        _nibble(word, far, unit, 2, LESS), _nibble(word, far, unit, 3, LESS),
        _nibble(word, far, unit, 4, LESS), _nibble(word, far, unit, 5, LESS),
        _nibble(word, far, unit, 6, LESS), _nibble(word, far, unit, 7, LESS),
    )  # fmt: skip


@triton.jit
def _of_high_bits(word, unit, FROM: tl.constexpr, BITS: tl.constexpr):
    """Eight numbers of BITS from bit FROM on, times 16."""
    return _eight(
        _field(word, unit, FROM, BITS, 16.0, 0.0), _field(word, unit, FROM + BITS, BITS, 16.0, 0.0),
        _field(word, unit, FROM + 2 * BITS, BITS, 16.0, 0.0), _field(word, unit, FROM + 3 * BITS, BITS, 16.0, 0.0),
        _field(word, unit, FROM + 4 * BITS, BITS, 16.0, 0.0), _field(word, unit, FROM + 5 * BITS, BITS, 16.0, 0.0),
        _field(word, unit, FROM + 6 * BITS, BITS, 16.0, 0.0), _field(word, unit, FROM + 7 * BITS, BITS, 16.0, 0.0),
    )  # fmt: skip


@triton.jit
def _spans(start, TILE: tl.constexpr):
    """Spans of which a thread has one, as it has one of all words: else what is read of them moves between threads."""
    return tl.multiple_of(start + tl.arange(0, TILE), 1)


@triton.jit
def _of_spans(plane, rows, real, spans, columns, step, SPAN: tl.constexpr):
    """What each span has, [rows, TILE]."""
    inside = real[:, None] & (spans * SPAN < columns)[None, :]
    return tl.load(plane + (rows * step)[:, None] + spans[None, :], mask=inside, other=0.0)


@triton.jit
def _load(plane, rows, real, first, count, step, WIDTH: tl.constexpr):
    """[rows, WIDTH] from `first` on, of rows of `count`."""
    places = first + tl.arange(0, WIDTH)
    return tl.load(
        plane + (rows * step)[:, None] + places[None, :], mask=real[:, None] & (places < count)[None, :], other=0.0
    )


@triton.jit
def _four_words(data, rows, real, start, columns, step, TILE: tl.constexpr):
    words = _load(data, rows, real, start * 4, columns // 8, step, TILE * 4)
    even, odd = tl.split(tl.reshape(words, (words.shape[0], TILE, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def nibbles(
    data, high, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    a, b, c, d = _four_words(data, rows, real, start, columns, data_step, TILE)
    return (
        _of_nibbles(a, unit, LESS),
        _of_nibbles(b, unit, LESS),
        _of_nibbles(c, unit, LESS),
        _of_nibbles(d, unit, LESS),
    )


@triton.jit
def fives(
    data, high, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    a, b, c, d = _four_words(data, rows, real, start, columns, data_step, TILE)
    bits = _of_spans(high, rows, real, _spans(start, TILE), columns, high_step, SPAN)
    far = bits >> 16
    return (
        _of_nibbles(a, unit, LESS) + _of_high_bits(bits, unit, 0, 1),
        _of_nibbles(b, unit, LESS) + _of_high_bits(bits, unit, 8, 1),
        _of_nibbles(c, unit, LESS) + _of_high_bits(far, unit, 0, 1),
        _of_nibbles(d, unit, LESS) + _of_high_bits(far, unit, 8, 1),
    )


@triton.jit
def sixes(
    data, high, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    spans = _spans(start, TILE)
    a = _of_spans(data, rows, real, spans, columns, data_step, SPAN)
    b = _of_spans(data + columns // SPAN, rows, real, spans, columns, data_step, SPAN)
    bits = _of_spans(high, rows, real, spans, columns, high_step, SPAN)
    return (
        _of_nibbles(a, unit, LESS) + _of_high_bits(bits, unit, 0, 2),
        _of_nibbles(b, unit, LESS) + _of_high_bits(bits >> 16, unit, 0, 2),
    )


@triton.jit
def _listed(word, table):
    each = tl.arange(0, 8) * 4
    return tl.load(table + ((word[:, :, None] >> each) & 15))


@triton.jit
def chosen(
    data, table, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Four bits choose among the sixteen numbers of a table."""
    a, b, c, d = _four_words(data, rows, real, start, columns, data_step, TILE)
    return _listed(a, table), _listed(b, table), _listed(c, table), _listed(d, table)


@triton.jit
def _small_floats(word):
    """Sign, two bits of exponent and one below it are so in fp32, times 2^-126."""
    first = word[:, :, None] << (28 - 4 * tl.arange(0, 8))
    return ((first >> 6) & _SIGN_AND_FLOAT).to(tl.float32, bitcast=True) * _DOUBLED_FLOAT


@triton.jit
def doubled(
    data, high, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Floats of four bits, times two."""
    a, b, c, d = _four_words(data, rows, real, start, columns, data_step, TILE)
    return _small_floats(a), _small_floats(b), _small_floats(c), _small_floats(d)


@triton.jit
def floats(
    data, high, unit, rows, real, start, columns, data_step, high_step,
    LESS: tl.constexpr, TILE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Numbers that the device converts itself: floats of any width, and bytes."""
    found = _load(data, rows, real, start * SPAN, columns, data_step, TILE * SPAN)
    if SPAN == 8:
        parts = (tl.reshape(found, (found.shape[0], TILE, 8)).to(tl.float32),)
    else:
        a, b = tl.split(tl.permute(tl.reshape(found, (found.shape[0], TILE, 2, 8)), (0, 1, 3, 2)))
        parts = (a.to(tl.float32), b.to(tl.float32))
    return parts


@triton.jit
def _of_groups(plane, rows, real, spans, columns, step, SPAN: tl.constexpr, GROUP: tl.constexpr):
    """What the group of each span has. A group is at least a span."""
    each: tl.constexpr = GROUP // SPAN
    inside = real[:, None] & (spans * SPAN < columns)[None, :]
    groups = spans if each == 1 else spans // each
    return tl.load(plane + (rows * step)[:, None] + groups[None, :], mask=inside, other=0.0)


@triton.jit
def one(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Numbers that are what they are."""
    ones = tl.zeros([rows.shape[0], TILE], tl.float32) + 1.0
    return ones, ones


@triton.jit
def plain(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    spans = _spans(start, TILE)
    scale = _of_groups(scales, scale_rows, real, spans, columns, scales_step, SPAN, GROUP).to(tl.float32)
    return scale, scale


@triton.jit
def minima(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    spans = _spans(start, TILE)
    scale = _of_groups(scales, scale_rows, real, spans, columns, scales_step, SPAN, GROUP).to(tl.float32)
    return scale, _of_groups(more, rows, real, spans, columns, more_step, SPAN, GROUP).to(tl.float32)


@triton.jit
def zeros(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    spans = _spans(start, TILE)
    scale = _of_groups(scales, scale_rows, real, spans, columns, scales_step, SPAN, GROUP).to(tl.float32)
    return scale, -scale * _of_groups(more, rows, real, spans, columns, more_step, SPAN, GROUP).to(tl.float32)


@triton.jit
def pairs(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Six bits for the scale and six for the minimum of each span, and what eight spans' are times."""
    spans = _spans(start, TILE)
    inside = real[:, None] & (spans * SPAN < columns)[None, :]
    outer = scales + (scale_rows * scales_step)[:, None] + (spans // 8 * 2)[None, :]
    inner = more + (rows * more_step)[:, None]
    low = tl.load(inner + spans[None, :], mask=inside, other=0).to(tl.int32)
    high = tl.load(inner + (columns // SPAN + spans // 2)[None, :], mask=inside, other=0).to(tl.int32)
    high = high >> (spans % 2 * 4)[None, :]
    scale = ((low & 15) | (high & 3) << 4).to(tl.float32)
    minimum = ((low >> 4) | (high & 12) << 2).to(tl.float32)
    return (
        tl.load(outer, mask=inside, other=0.0).to(tl.float32) * scale,
        -tl.load(outer + 1, mask=inside, other=0.0).to(tl.float32) * minimum,
    )


@triton.jit
def small(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """A byte for each span, and what those of 256 columns are times."""
    spans = _spans(start, TILE)
    inner = _of_groups(more, rows, real, spans, columns, more_step, SPAN, GROUP).to(tl.float32)
    scale = _of_groups(scales, scale_rows, real, spans, columns, scales_step, SPAN, 256).to(tl.float32) * inner
    return scale, scale


@triton.jit
def powers(
    scales, more, rows, scale_rows, real, start, columns, scales_step, more_step,
    TILE: tl.constexpr, SPAN: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """2^(e - 128), which below 2^-126 has no exponent of its own in fp32."""
    spans = _spans(start, TILE)
    exponent = _of_groups(scales, scale_rows, real, spans, columns, scales_step, SPAN, GROUP).to(tl.int32)
    bits = tl.where(exponent < 2, 0x00200000 << tl.minimum(exponent, 1), (exponent - 1) << 23)
    scale = bits.to(tl.float32, bitcast=True)
    return scale, scale


NUMBERS: Final[Mapping[str, Any]] = {
    "nibbles": nibbles,
    "fives": fives,
    "sixes": sixes,
    "chosen": chosen,
    "doubled": doubled,
    "floats": floats,
}
SCALES: Final[Mapping[str, Any]] = {
    "one": one,
    "plain": plain,
    "minima": minima,
    "zeros": zeros,
    "pairs": pairs,
    "small": small,
    "powers": powers,
}

# mypy: disable-error-code="assignment, no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""Products with packed weights, and with the experts that rows choose: a kernel for few rows and one for many.

What kind a weight is of, its functions in `numbers.py` know. With few rows a product is as fast as the weight can be
read: a thread takes 16 bytes of one of the weight's rows at a time, sums what they come to, and only that sum is times
the scale. With many rows a tile of the weight is made numbers of the activations' type, and multiplied as any matrix.

How sums are cut follows from the weight's shape, and for many rows from the class of their number; all are fp32.
"""

import triton
import triton.language as tl

from .later import compiled_later
from .prefill import owner_of

_PRECISION: tl.constexpr = tl.constexpr("tf32x3")  # of fp32 alone: as exact as its own products, or nearly


@compiled_later
@triton.jit
def few_kernel(
    unit,
    x,
    data,
    high,
    scales,
    more,
    bias,
    onto,
    out,
    chosen,
    columns,
    outputs,
    scale_outputs,
    choices,
    x_step,
    onto_step,
    out_step,
    data_step,
    high_step,
    scales_step,
    more_step,
    NUMBERS: tl.constexpr,
    SCALES: tl.constexpr,
    LESS: tl.constexpr,
    SPAN: tl.constexpr,
    GROUP: tl.constexpr,
    TALL: tl.constexpr,
    SHIFTED: tl.constexpr,
    ROWS: tl.constexpr,
    HEIGHT: tl.constexpr,
    TILE: tl.constexpr,
    CHOSEN: tl.constexpr,
    BIASED: tl.constexpr,
    ADDED: tl.constexpr,
):
    """HEIGHT outputs of ROWS rows. CHOSEN: of one row and the expert that it chose."""
    outs = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    real = outs < outputs
    rows = outs.to(tl.int64)
    scale_rows = rows // TALL
    if CHOSEN:
        pair = tl.program_id(1).to(tl.int64)
        expert = tl.load(chosen + pair)
        rows += expert * outputs
        scale_rows += expert * scale_outputs
        x += pair // choices * x_step
        out += pair * out_step
    sums = ()
    for _ in tl.static_range(ROWS):
        sums = sums + (tl.zeros([HEIGHT, TILE], tl.float32),)
    for start in range(0, tl.cdiv(columns, SPAN), TILE):
        parts = NUMBERS(data, high, unit, rows, real, start, columns, data_step, high_step, LESS, TILE, SPAN)
        scale, offset = SCALES(
            scales, more, rows, scale_rows, real, start, columns, scales_step, more_step, TILE, SPAN, GROUP
        )
        places = (start + tl.arange(0, TILE))[:, None] * SPAN + tl.arange(0, 8)[None, :]
        grown = ()
        for row in tl.static_range(ROWS):
            found = tl.zeros([HEIGHT, TILE], tl.float32)
            beside = tl.zeros([TILE], tl.float32)
            for part in tl.static_range(SPAN // 8):
                taken = places + 8 * part
                each = tl.load(x + row * x_step + taken, mask=taken < columns, other=0.0).to(tl.float32)
                found += tl.sum(parts[part] * each[None], 2)
                if SHIFTED:
                    beside += tl.sum(each, 1)
            total = sums[row] + scale * found
            if SHIFTED:
                total += offset * beside[None, :]
            grown = grown + (total,)
        sums = grown
    for row in tl.static_range(ROWS):
        result = tl.sum(sums[row], 1)
        if BIASED:
            result += tl.load(bias + outs, mask=real, other=0.0).to(tl.float32)
        if ADDED:
            result += tl.load(onto + row * onto_step + outs, mask=real, other=0.0).to(tl.float32)
        tl.store(out + row * out_step + outs, result.to(out.dtype.element_ty), mask=real)


@triton.jit
def _side_by_side(parts, SPAN: tl.constexpr):
    """[rows, spans, SPAN], columns in their order."""
    if SPAN == 8:
        whole = parts[0]
    elif SPAN == 16:
        whole = tl.permute(tl.join(parts[0], parts[1]), (0, 1, 3, 2))
    else:
        whole = tl.permute(tl.join(tl.join(parts[0], parts[2]), tl.join(parts[1], parts[3])), (0, 1, 3, 4, 2))
    return tl.reshape(whole, (parts[0].shape[0], parts[0].shape[1], SPAN))


@compiled_later
@triton.jit(do_not_specialize=["count", "split_step"])
def many_kernel(
    unit,
    x,
    data,
    high,
    scales,
    more,
    bias,
    onto,
    out,
    order,
    starts,
    columns,
    outputs,
    scale_outputs,
    count,
    choices,
    x_step,
    onto_step,
    out_step,
    split_step,
    data_step,
    high_step,
    scales_step,
    more_step,
    NUMBERS: tl.constexpr,
    SCALES: tl.constexpr,
    LESS: tl.constexpr,
    SPAN: tl.constexpr,
    GROUP: tl.constexpr,
    TALL: tl.constexpr,
    SHIFTED: tl.constexpr,
    ROWS: tl.constexpr,
    HEIGHT: tl.constexpr,
    TILE: tl.constexpr,
    SORTED: tl.constexpr,
    BIASED: tl.constexpr,
    ADDED: tl.constexpr,
):
    """HEIGHT outputs of ROWS rows, over one share of all columns. SORTED: of `count` experts, each has those of `order`
    between its start and the next.
    """
    outs = tl.program_id(1) * HEIGHT + tl.arange(0, HEIGHT)
    real = outs < outputs
    rows = outs.to(tl.int64)
    scale_rows = rows // TALL
    block = tl.program_id(0)
    if SORTED:
        expert = owner_of(block, starts, count, ROWS)
        first = tl.load(starts + expert)
        own = tl.load(starts + expert + 1) - first
        skipped = (block - first // ROWS - expert) * ROWS
        if skipped >= own:
            return
        inside = skipped + tl.arange(0, ROWS)
        there = inside < own
        written = tl.load(order + first + inside, mask=there, other=0)
        read = written // choices
        rows += expert.to(tl.int64) * outputs
        scale_rows += expert.to(tl.int64) * scale_outputs
    else:
        written = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        there = written < count
        read = written
    total = tl.zeros([HEIGHT, ROWS], tl.float32)
    share = tl.cdiv(tl.cdiv(columns, SPAN * TILE), tl.num_programs(2)) * TILE
    begin = tl.program_id(2) * share
    for start in range(begin, tl.minimum(begin + share, tl.cdiv(columns, SPAN)), TILE):
        parts = NUMBERS(data, high, unit, rows, real, start, columns, data_step, high_step, LESS, TILE, SPAN)
        scale, offset = SCALES(
            scales, more, rows, scale_rows, real, start, columns, scales_step, more_step, TILE, SPAN, GROUP
        )
        weights = _side_by_side(parts, SPAN) * scale[:, :, None]
        if SHIFTED:
            weights += offset[:, :, None]
        places = start * SPAN + tl.arange(0, TILE * SPAN)
        each = tl.load(
            x + (read * x_step)[None, :] + places[:, None],
            mask=there[None, :] & (places < columns)[:, None],
            other=0.0,
        )
        weights = tl.reshape(weights.to(each.dtype), (HEIGHT, TILE * SPAN))
        total = tl.dot(weights, each, total, input_precision=_PRECISION)
    if BIASED:
        total += tl.load(bias + outs, mask=real, other=0.0).to(tl.float32)[:, None]
    inside_both = real[:, None] & there[None, :]
    if ADDED:
        total += tl.load(onto + (written * onto_step)[None, :] + outs[:, None], mask=inside_both, other=0.0).to(
            tl.float32
        )
    where = out + tl.program_id(2).to(tl.int64) * split_step + (written * out_step)[None, :] + outs[:, None]
    tl.store(where, total.to(out.dtype.element_ty), mask=inside_both)


@compiled_later
@triton.jit(do_not_specialize=["split_step"])
def shares_kernel(
    shares,
    bias,
    onto,
    out,
    outputs,
    split_step,
    onto_step,
    out_step,
    SPLITS: tl.constexpr,
    TILE: tl.constexpr,
    BIASED: tl.constexpr,
    ADDED: tl.constexpr,
):
    """Add up what shares of the columns come to, in their order."""
    row = tl.program_id(0).to(tl.int64)
    outs = tl.program_id(1) * TILE + tl.arange(0, TILE)
    real = outs < outputs
    total = tl.load(shares + row * outputs + outs, mask=real, other=0.0)
    for split in range(1, SPLITS):
        total += tl.load(shares + split * split_step + row * outputs + outs, mask=real, other=0.0)
    if BIASED:
        total += tl.load(bias + outs, mask=real, other=0.0).to(tl.float32)
    if ADDED:
        total += tl.load(onto + row * onto_step + outs, mask=real, other=0.0).to(tl.float32)
    tl.store(out + row * out_step + outs, total.to(out.dtype.element_ty), mask=real)


@compiled_later
@triton.jit
def rows_kernel(
    unit,
    ids,
    data,
    high,
    scales,
    more,
    out,
    columns,
    out_step,
    data_step,
    high_step,
    scales_step,
    more_step,
    NUMBERS: tl.constexpr,
    SCALES: tl.constexpr,
    LESS: tl.constexpr,
    SPAN: tl.constexpr,
    GROUP: tl.constexpr,
    TALL: tl.constexpr,
    SHIFTED: tl.constexpr,
    TILE: tl.constexpr,
):
    """TILE spans of one row of the weight."""
    token = tl.program_id(0).to(tl.int64)
    rows = tl.load(ids + token + tl.arange(0, 1)).to(tl.int64)
    real = rows >= 0
    start = tl.program_id(1) * TILE
    parts = NUMBERS(data, high, unit, rows, real, start, columns, data_step, high_step, LESS, TILE, SPAN)
    scale, offset = SCALES(
        scales, more, rows, rows // TALL, real, start, columns, scales_step, more_step, TILE, SPAN, GROUP
    )
    spans = (start + tl.arange(0, TILE))[None, :, None] * SPAN
    for part in tl.static_range(SPAN // 8):
        each = parts[part] * scale[:, :, None]
        if SHIFTED:
            each += offset[:, :, None]
        places = spans + 8 * part + tl.arange(0, 8)[None, None, :]
        tl.store(out + token * out_step + places, each.to(out.dtype.element_ty), mask=places < columns)

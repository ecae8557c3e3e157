# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""What attention over pages does with one tile of keys: the part that prompts and single tokens share.

Scores are powers of two: they are multiplied by log2(e) once. All sums are fp32. A row that has seen nothing has -inf
for its largest score, and nothing here makes that into a NaN; a score that is no number makes its row's sum none.
"""

import triton
import triton.language as tl

_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
_PRECISION: tl.constexpr = tl.constexpr("tf32x3")  # of fp32 alone: as exact as its own products, or nearly


@triton.jit
def pages_at(table, places, highest, PAGE: tl.constexpr):
    """The pages' numbers, of places below `highest`: a tile's are read while the one before is computed."""
    return tl.load(table + places // PAGE, mask=places < highest, other=0).to(tl.int64)


@triton.jit
def tile_scores(
    q,
    keys,
    key_scales,
    pages,
    places,
    lowest,
    highest,
    scale,
    softcap,
    page_step,
    token_step,
    scale_page_step,
    scale_token_step,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALED: tl.constexpr,
    CAPPED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Scores [rows, TILE] of these places, in powers of two, before slopes and masks."""
    columns = tl.arange(0, WIDTH)
    where = keys + (pages * page_step + (places % PAGE) * token_step)[None, :] + columns[:, None]
    there = (places >= lowest) & (places < highest)
    if MASKED:
        k = tl.load(where, mask=there[None, :] & (columns < DIM)[:, None], other=0.0)
    elif WIDTH == DIM:
        k = tl.load(where)
    else:
        k = tl.load(where, mask=(columns < DIM)[:, None], other=0.0)
    scores = tl.dot(q, k.to(q.dtype), input_precision=_PRECISION) * scale
    if SCALED:
        steps = pages * scale_page_step + (places % PAGE) * scale_token_step
        if MASKED:
            scores *= tl.load(key_scales + steps, mask=there, other=0.0)[None, :]
        else:
            scores *= tl.load(key_scales + steps)[None, :]
    if CAPPED:
        turned = 1 - 2 / (tl.exp2(scores * (2 * _LOG2E / softcap)) + 1)  # tanh
        scores = turned * softcap
    return scores * _LOG2E


@triton.jit
def tile_values(
    places,
    pages,
    values,
    lowest,
    highest,
    page_step,
    token_step,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Values [TILE, WIDTH] of these places; what was never written is 0."""
    columns = tl.arange(0, WIDTH)
    where = values + (pages * page_step + (places % PAGE) * token_step)[:, None] + columns[None, :]
    if MASKED:
        there = (places >= lowest) & (places < highest)
        return tl.load(where, mask=there[:, None] & (columns < DIM)[None, :], other=0.0)
    if WIDTH == DIM:
        return tl.load(where)
    return tl.load(where, mask=(columns < DIM)[None, :], other=0.0)


@triton.jit
def attend_tile(
    q,
    largest,
    total,
    mixed,
    pages,
    places,
    low,
    high,
    lowest,
    highest,
    asked,
    slopes,
    keys,
    values,
    key_scales,
    value_scales,
    scale,
    softcap,
    key_page_step,
    key_token_step,
    value_page_step,
    value_token_step,
    scale_page_step,
    scale_token_step,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALED: tl.constexpr,
    CAPPED: tl.constexpr,
    SLOPED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Take the tile at `places`, in `pages`, into each row's largest score, sum of shares and mixed values.

    A row sees the positions from its `low` up to below its `high`; rows together those from `lowest` to `highest`.
    Without MASKED every row sees all of the tile. `asked` are the rows' own positions.
    """
    scores = tile_scores(
        q, keys, key_scales, pages, places, lowest, highest, scale, softcap,
        key_page_step, key_token_step, scale_page_step, scale_token_step,
        PAGE, DIM, WIDTH, SCALED, CAPPED, MASKED,
    )  # fmt: skip
    if SLOPED:
        scores += (slopes * _LOG2E)[:, None] * (places[None, :] - asked[:, None]).to(tl.float32)
    if MASKED:
        seen = (places[None, :] >= low[:, None]) & (places[None, :] < high[:, None])
        scores = tl.where(seen, scores, float("-inf"))
    larger = tl.maximum(largest, tl.max(scores, 1))
    base = tl.where(larger == float("-inf"), 0.0, larger)
    shares = tl.exp2(scores - base[:, None])
    faded = tl.exp2(largest - base)
    total = total * faded + tl.sum(shares, 1)
    v = tile_values(places, pages, values, lowest, highest, value_page_step, value_token_step, PAGE, DIM, WIDTH, MASKED)
    if SCALED:
        steps = pages * scale_page_step + (places % PAGE) * scale_token_step
        if MASKED:
            there = (places >= lowest) & (places < highest)
            shares *= tl.load(value_scales + steps, mask=there, other=0.0)[None, :]
        else:
            shares *= tl.load(value_scales + steps)[None, :]
    mixed = mixed * faded[:, None]
    mixed = tl.dot(shares.to(q.dtype), v.to(q.dtype), mixed, input_precision=_PRECISION)
    return larger, total, mixed


@triton.jit
def attend_span(
    q,
    begin,
    end,
    low,
    high,
    lowest,
    highest,
    whole_from,
    whole_to,
    asked,
    slopes,
    keys,
    values,
    key_scales,
    value_scales,
    table,
    scale,
    softcap,
    key_page_step,
    key_token_step,
    value_page_step,
    value_token_step,
    scale_page_step,
    scale_token_step,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    SCALED: tl.constexpr,
    CAPPED: tl.constexpr,
    SLOPED: tl.constexpr,
):
    """Each row's largest score, sum of shares and mixed values over the tiles from `begin` up to `end`. Every row sees
    all from `whole_from` to `whole_to`: whole tiles in there are not masked, which changes no number.
    """
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, WIDTH], tl.float32)
    first = tl.minimum(tl.cdiv(tl.maximum(whole_from, begin), TILE) * TILE, end)
    last = tl.maximum(tl.minimum(whole_to, end) // TILE * TILE, first)
    offsets = tl.arange(0, TILE)
    pages = pages_at(table, begin + offsets, highest, PAGE)
    for part in tl.static_range(3):
        upto = first if part == 0 else (last if part == 1 else end)
        since = begin if part == 0 else (first if part == 1 else last)
        for start in range(since, upto, TILE):
            places = start + offsets
            ahead = pages_at(table, places + TILE, highest, PAGE)
            largest, total, mixed = attend_tile(
                q, largest, total, mixed, pages, places, low, high, lowest, highest, asked, slopes,
                keys, values, key_scales, value_scales, scale, softcap,
                key_page_step, key_token_step, value_page_step, value_token_step, scale_page_step, scale_token_step,
                PAGE, DIM, WIDTH, SCALED, CAPPED, SLOPED, part != 1,
            )  # fmt: skip
            pages = ahead
    return largest, total, mixed


@triton.jit
def shared_out(largest, total, mixed, sinks, SINKING: tl.constexpr):
    """Mixed values [rows, WIDTH] over the sum of shares; a sink takes its share and gives nothing."""
    if SINKING:
        sinking = sinks * _LOG2E
        larger = tl.maximum(largest, sinking)
        faded = tl.exp2(largest - larger)
        total = total * faded + tl.exp2(sinking - larger)
        mixed = mixed * faded[:, None]
    return mixed / tl.where(total == 0, 1.0, total)[:, None]


@triton.jit
def first_seen(position, window, chunk):
    """The first position that the one at `position` sees; `window` and `chunk` are 0 where there are none."""
    low = tl.where(window > 0, tl.maximum(position + 1 - window, 0), 0)
    return tl.where(chunk > 0, position // tl.maximum(chunk, 1) * chunk, low)

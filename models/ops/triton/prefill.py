# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""Attention of sequences that bring several tokens: prompts, chunks of them behind a cached beginning, guesses.

A program takes a block of one sequence's tokens, with all heads that ask one head that answers as rows of one matrix.
Blocks are cut from each sequence's own beginning, so that the grid's size follows from the numbers of tokens and of
sequences alone; the programs that are too many end at once. Tiles of keys lie at fixed positions and are taken in their
order, so that a token comes out the same in whatever chunk it comes.
"""

import triton
import triton.language as tl
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from .later import compiled_later
from .launch import Sizes, scales_of
from .paged import attend_span, first_seen, shared_out
from .tuning import prefill_cut


@triton.jit
def owner_of(block, starts, sequences, BLOCK: tl.constexpr):
    """The sequence to which a block of its tokens belongs: its blocks begin at its start / BLOCK + its number."""
    low = 0
    high = sequences - 1
    while low < high:
        middle = (low + high + 1) // 2
        if tl.load(starts + middle) // BLOCK + middle <= block:
            low = middle
        else:
            high = middle - 1
    return low


@compiled_later
@triton.jit(do_not_specialize=["sequences", "table_step"])
def _blocks_kernel(
    q,
    keys,
    values,
    key_scales,
    value_scales,
    table,
    starts,
    lengths,
    sinks,
    alibi,
    out,
    sequences,
    scale,
    softcap,
    window,
    chunk,
    q_token_step,
    q_head_step,
    out_token_step,
    out_head_step,
    key_page_step,
    key_token_step,
    key_head_step,
    value_page_step,
    value_token_step,
    value_head_step,
    scale_page_step,
    scale_token_step,
    table_step,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    CAUSAL: tl.constexpr,
    SCALED: tl.constexpr,
    CAPPED: tl.constexpr,
    SLOPED: tl.constexpr,
    SINKING: tl.constexpr,
    ALONE: tl.constexpr,
):
    """BLOCK tokens of a sequence and the query heads of one key head. ALONE: what brings one token is served here."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)  # the last ones see most: they begin first
    head = tl.program_id(1)
    sequence = owner_of(block, starts, sequences, BLOCK)
    start = tl.load(starts + sequence)
    count = tl.load(starts + sequence + 1) - start
    skipped = (block - start // BLOCK - sequence) * BLOCK
    if (skipped >= count) | ((count == 1) & (not ALONE)):
        return
    length = tl.load(lengths + sequence)
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    inside = skipped + rows // GROUP  # of the sequence's new tokens
    asking = head * GROUP + rows % GROUP
    real = (inside < count) & (rows < BLOCK * GROUP)
    within = real[:, None] & (columns < DIM)[None, :]
    tokens = (start + inside).to(tl.int64)
    asked = length - count + inside
    where = tokens[:, None] * q_token_step + asking[:, None] * q_head_step + columns[None, :]
    queries = tl.load(q + where, mask=within, other=0.0)
    slopes = tl.zeros([ROWS], tl.float32)
    if SLOPED:
        slopes = tl.load(alibi + asking, mask=real, other=0.0)
    first = length - count + skipped
    last = tl.minimum(first + BLOCK, length) - 1
    if CAUSAL:
        low = first_seen(asked, window, chunk)
        high = asked + 1
        lowest = first_seen(first, window, chunk)
        highest = last + 1
        whole_from = first_seen(last, window, chunk)
        whole_to = first + 1
    else:
        low = asked * 0
        high = low + length
        lowest = 0
        highest = length
        whole_from = 0
        whole_to = length
    largest, total, mixed = attend_span(
        queries, lowest // TILE * TILE, highest, low, high, lowest, highest, whole_from, whole_to, asked, slopes,
        keys + head.to(tl.int64) * key_head_step, values + head.to(tl.int64) * value_head_step,
        key_scales + head, value_scales + head, table + sequence.to(tl.int64) * table_step, scale, softcap,
        key_page_step, key_token_step, value_page_step, value_token_step, scale_page_step, scale_token_step,
        PAGE, DIM, WIDTH, TILE, ROWS, SCALED, CAPPED, SLOPED,
    )  # fmt: skip
    if SINKING:
        sinking = tl.load(sinks + asking, mask=real, other=0.0)
    else:
        sinking = largest
    result = shared_out(largest, total, mixed, sinking, SINKING)
    where = tokens[:, None] * out_token_step + asking[:, None] * out_head_step + columns[None, :]
    tl.store(out + where, result.to(out.dtype.element_ty), mask=within)


def attend_chunks(
    q: Tensor, out: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch, *, alone: bool = False
) -> None:
    """Write to `out` [tokens, heads, head_dim] what the tokens of all sequences that bring several come to; with
    `alone` also of those that bring one.
    """
    sizes = Sizes.of(q, cache)
    sequences = len(batch.lengths)
    cut = prefill_cut(sizes.width, q.element_size())
    rows = max(cut.rows, triton.next_power_of_2(sizes.group))
    block = rows // sizes.group
    scales = scales_of(cache)
    _blocks_kernel[(len(q) // block + sequences, sizes.kv_heads)](
        q,
        cache.keys,
        cache.values,
        *scales.tensors,
        cache.table,
        batch.starts,
        batch.lengths,
        out if spec.sinks is None else spec.sinks.float(),
        out if spec.alibi is None else spec.alibi.float(),
        out,
        sequences,
        spec.scale,
        spec.softcap or 1.0,
        spec.window or 0,
        spec.chunk or 0,
        *q.stride()[:2],
        *out.stride()[:2],
        *cache.keys.stride()[:3],
        *cache.values.stride()[:3],
        *scales.steps,
        cache.table.stride(0),
        GROUP=sizes.group,
        ROWS=rows,
        BLOCK=block,
        PAGE=sizes.page,
        DIM=sizes.dim,
        WIDTH=sizes.width,
        TILE=cut.tile,
        CAUSAL=spec.causal,
        SCALED=scales.there,
        CAPPED=spec.softcap is not None,
        SLOPED=spec.alibi is not None,
        SINKING=spec.sinks is not None,
        ALONE=alone,
        num_warps=cut.warps,
        num_stages=cut.stages,
    )

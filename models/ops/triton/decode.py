# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""Attention of sequences that bring one token each: it is as fast as pages can be read.

The heads that ask one that answers are rows of one small matrix, so that keys are read once for all of them. What a
token sees is summed in runs of a fixed number of positions, each on its own; a second kernel adds up the runs, always
in their order. How many programs share the runs of a sequence follows from how many sequences there are, and changes
no number.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from .later import compiled_later
from .launch import Sizes, processors, scales_of
from .paged import attend_span, first_seen, shared_out
from .tuning import RUN, decode_cut

_PROGRAMS_EACH: Final = 4  # of a processor: so many tiles are on their way at once


@compiled_later
@triton.jit(do_not_specialize=["runs", "table_step"])
def _runs_kernel(
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
    partial,
    sums,
    scale,
    softcap,
    window,
    chunk,
    runs,
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
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    PAGE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    RUN: tl.constexpr,
    SCALED: tl.constexpr,
    CAPPED: tl.constexpr,
    SLOPED: tl.constexpr,
    SINKING: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """One sequence's query heads of one key head, over every so many-th of its runs. WHOLE: there is one run, and what
    it comes to is the result.
    """
    sequence = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    token = tl.load(starts + sequence).to(tl.int64)
    if tl.load(starts + sequence + 1) - token != 1:
        return
    length = tl.load(lengths + sequence)
    lowest = first_seen(length - 1, window, chunk)
    rows = tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    asking = head * GROUP + rows
    real = rows < GROUP
    within = real[:, None] & (columns < DIM)[None, :]
    queries = tl.load(
        q + token * q_token_step + asking[:, None] * q_head_step + columns[None, :], mask=within, other=0.0
    )
    slopes = tl.zeros([ROWS], tl.float32)
    if SLOPED:
        slopes = tl.load(alibi + asking, mask=real, other=0.0)
    low = tl.zeros([ROWS], tl.int32) + lowest
    high = tl.zeros([ROWS], tl.int32) + length
    asked = high - 1
    row_table = table + sequence * table_step
    keys += head.to(tl.int64) * key_head_step
    values += head.to(tl.int64) * value_head_step
    key_scales += head
    value_scales += head
    first_run = lowest // RUN
    for run in range(first_run + tl.program_id(2), tl.cdiv(length, RUN), tl.num_programs(2)):
        begin = tl.maximum(run * RUN, lowest // TILE * TILE)
        end = tl.minimum((run + 1) * RUN, length)
        largest, total, mixed = attend_span(
            queries, begin, end, low, high, lowest, length, lowest, length, asked, slopes,
            keys, values, key_scales, value_scales, row_table, scale, softcap,
            key_page_step, key_token_step, value_page_step, value_token_step, scale_page_step, scale_token_step,
            PAGE, DIM, WIDTH, TILE, ROWS, SCALED, CAPPED, SLOPED,
        )  # fmt: skip
        if WHOLE:
            if SINKING:
                sinking = tl.load(sinks + asking, mask=real, other=0.0)
            else:
                sinking = largest
            result = shared_out(largest, total, mixed, sinking, SINKING)
            where = out + token * out_token_step + asking[:, None] * out_head_step + columns[None, :]
            tl.store(where, result.to(out.dtype.element_ty), mask=within)
        else:
            place = (sequence * HEADS + asking) * runs + (run - first_run)
            tl.store(partial + place[:, None] * WIDTH + columns[None, :], mixed, mask=real[:, None])
            tl.store(sums + 2 * place, largest, mask=real)
            tl.store(sums + 2 * place + 1, total, mask=real)


@compiled_later
@triton.jit(do_not_specialize=["runs"])
def _sum_kernel(
    starts,
    lengths,
    sinks,
    out,
    partial,
    sums,
    window,
    chunk,
    runs,
    out_token_step,
    out_head_step,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    RUN: tl.constexpr,
    SINKING: tl.constexpr,
):
    """Add up the runs of one query head of one sequence, in their order."""
    sequence = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    token = tl.load(starts + sequence).to(tl.int64)
    if tl.load(starts + sequence + 1) - token != 1:
        return
    length = tl.load(lengths + sequence)
    count = tl.cdiv(length, RUN) - first_seen(length - 1, window, chunk) // RUN
    columns = tl.arange(0, WIDTH)
    one = tl.arange(0, 1)
    place = (sequence * HEADS + head) * runs + one
    largest = tl.load(sums + 2 * place)
    total = tl.load(sums + 2 * place + 1)
    mixed = tl.load(partial + place[:, None] * WIDTH + columns[None, :])
    for run in range(1, count):
        beside = tl.load(sums + 2 * (place + run))
        larger = tl.maximum(largest, beside)
        base = tl.where(larger == float("-inf"), 0.0, larger)
        faded, taken = tl.exp2(largest - base), tl.exp2(beside - base)
        total = total * faded + tl.load(sums + 2 * (place + run) + 1) * taken
        found = tl.load(partial + (place + run)[:, None] * WIDTH + columns[None, :])
        mixed = mixed * faded[:, None] + found * taken[:, None]
        largest = larger
    if SINKING:
        sinking = tl.load(sinks + head + one)
    else:
        sinking = largest
    result = shared_out(largest, total, mixed, sinking, SINKING)
    where = out + token * out_token_step + head * out_head_step + columns[None, :]
    tl.store(where, result.to(out.dtype.element_ty), mask=(columns < DIM)[None, :])


def attend_tokens(q: Tensor, out: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> None:
    """Write to `out` [tokens, heads, head_dim] what the tokens of all sequences that bring one come to."""
    sizes = Sizes.of(q, cache)
    sequences = len(batch.lengths)
    cut = decode_cut(sizes.width, cache.keys.element_size())
    runs = _most_runs(cache.table.shape[1] * sizes.page, spec)
    partial, sums = _room(q, sequences * sizes.heads * runs, sizes.width, whole=runs == 1)
    scales = scales_of(cache)
    common: dict[str, Any] = {"DIM": sizes.dim, "WIDTH": sizes.width, "RUN": RUN, "HEADS": sizes.heads}
    sinking, window, chunk = spec.sinks is not None, spec.window or 0, spec.chunk or 0
    sinks = out if spec.sinks is None else spec.sinks.float()
    busy = processors(q.device) * _PROGRAMS_EACH
    side_by_side = min(runs, -(-busy // (sequences * sizes.kv_heads)))
    _runs_kernel[(sequences, sizes.kv_heads, side_by_side)](
        q,
        cache.keys,
        cache.values,
        *scales.tensors,
        cache.table,
        batch.starts,
        batch.lengths,
        sinks,
        out if spec.alibi is None else spec.alibi.float(),
        out,
        partial,
        sums,
        spec.scale,
        spec.softcap or 1.0,
        window,
        chunk,
        runs,
        *q.stride()[:2],
        *out.stride()[:2],
        *cache.keys.stride()[:3],
        *cache.values.stride()[:3],
        *scales.steps,
        cache.table.stride(0),
        GROUP=sizes.group,
        ROWS=max(cut.rows, triton.next_power_of_2(sizes.group)),
        PAGE=sizes.page,
        TILE=cut.tile,
        SCALED=scales.there,
        CAPPED=spec.softcap is not None,
        SLOPED=spec.alibi is not None,
        SINKING=sinking,
        WHOLE=runs == 1,
        num_warps=cut.warps,
        num_stages=cut.stages,
        **common,
    )
    if runs > 1:
        _sum_kernel[(sequences, sizes.heads)](
            batch.starts,
            batch.lengths,
            sinks,
            out,
            partial,
            sums,
            window,
            chunk,
            runs,
            *out.stride()[:2],
            SINKING=sinking,
            num_warps=1 if sizes.width <= 128 else 2,
            num_stages=3,
            **common,
        )


def _most_runs(context: int, spec: AttentionSpec) -> int:
    """Of any sequence, as far as the page table reaches; what a window leaves touches few."""
    reach = spec.chunk or (spec.window if spec.causal else None)
    runs = -(-context // RUN)
    return runs if reach is None else min(runs, (reach - 2) // RUN + 2 if reach > 1 else 1)


def _room(q: Tensor, places: int, width: int, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Where runs leave what they come to; nothing is left where there is one run."""
    count = 0 if whole else places
    return (
        torch.empty(count, width, dtype=torch.float32, device=q.device),
        torch.empty(count, 2, dtype=torch.float32, device=q.device),
    )

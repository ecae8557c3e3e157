# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""The kernel of `reference_matrix.py`: recurrent layers whose state is a matrix for each head.

A program keeps some rows of one head's state of one sequence in registers, and takes the sequence's tokens in their
order: what comes out is the same bit for bit in whatever chunks they come.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import Batch, StateView
from ..operands import in_rows
from ..reference_matrix import Step
from .later import compiled_later
from .scans import settle, span, states_of

_NUMBERS: Final = 4096  # of a state, of one program


@triton.jit
def _of_token(x, token, head, token_step, head_step, offsets, mask):
    """Numbers of one token's head."""
    return tl.load(x + token * token_step + head * head_step + offsets, mask=mask, other=0.0)


@compiled_later
@triton.jit
def _matrix_kernel(
    starts, sources, targets, fresh, kept, kept_step, q, k, v, decay, a, b, out,
    q_step, q_head, k_step, k_head, v_step, v_head, decay_step, decay_head, a_step, a_head, b_step, b_head,
    out_step, out_head,
    SIZE: tl.constexpr, SIZES: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
    PACED: tl.constexpr, FORGETS: tl.constexpr, READS_BEFORE: tl.constexpr,
):  # fmt: skip
    """PACED: each number of a key decays at a pace of its own."""
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    head = tl.program_id(1)
    rows = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    sizes = tl.arange(0, SIZES)
    real, there = rows < WIDTH, sizes < SIZE
    both = real[:, None] & there[None, :]
    where = (head * WIDTH + rows)[:, None] * SIZE + sizes[None, :]
    state = tl.load(source + where, mask=both & (begins == 0), other=0.0)
    for done in range(stop - start):
        token = start + done
        asked = _of_token(q, token, head, q_step, q_head, sizes, there)
        key = _of_token(k, token, head, k_step, k_head, sizes, there)
        value = _of_token(v, token, head, v_step, v_head, rows, real)
        if PACED:
            pace = _of_token(decay, token, head, decay_step, decay_head, sizes, there)
        else:
            pace = _of_token(decay, token, head, decay_step, decay_head, sizes * 0, there)
        found = tl.sum(state * asked[None, :], 1)
        after = state * tl.exp(pace)[None, :] + value[:, None] * key[None, :]
        if FORGETS:
            along = _of_token(a, token, head, a_step, a_head, sizes, there)
            against = _of_token(b, token, head, b_step, b_head, sizes, there)
            after += tl.sum(state * along[None, :], 1)[:, None] * against[None, :]
        state = after
        if not READS_BEFORE:
            found = tl.sum(state * asked[None, :], 1)
        tl.store(out + token * out_step + head * out_head + rows, found, mask=real)
    settle()
    tl.store(target + where, state, mask=both)


def matrix_scan(step: Step, name: str, cache: StateView, batch: Batch) -> Tensor:
    """As `reference_matrix.matrix_scan`."""
    q, k, v, decay = (in_rows(part) for part in (step.q, step.k, step.v, step.decay))
    a, b = (q if part is None else in_rows(part) for part in (step.a, step.b))
    heads, size, width = q.shape[1], q.shape[2], v.shape[2]
    sizes = triton.next_power_of_2(size)
    rows = max(1, min(_NUMBERS // sizes, triton.next_power_of_2(width)))
    out = torch.empty(v.shape, dtype=torch.float32, device=v.device)
    _matrix_kernel[(len(batch.queries), heads, triton.cdiv(width, rows))](
        *states_of(name, cache, batch), q, k, v, decay, a, b, out,
        *(each for part in (q, k, v, decay, a, b, out) for each in part.stride()[:2]),
        SIZE=size, SIZES=sizes, WIDTH=width, ROWS=rows,
        PACED=decay.shape[2] > 1, FORGETS=step.a is not None, READS_BEFORE=step.reads_before, num_warps=4,
    )  # fmt: skip
    return out

# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""What is done to each row of activations: norm and add, gate. Sums are fp32, a row is one program's."""

from typing import Final, Literal, TypeAlias

import triton
import triton.language as tl
from torch import Tensor

from ..operands import Norm
from .later import compiled_later

Gate: TypeAlias = Literal["silu", "gelu_tanh"]

_GATES: Final[dict[Gate, int]] = {"silu": 0, "gelu_tanh": 1}
_TILE: Final = 4096  # columns at once
_GATE_TILE: Final = 1024


@triton.jit
def _write(wide, squares, weight, onto, out, columns, eps, offsets, inside, ADDED: tl.constexpr):
    """One tile of a row, whose squares are known."""
    factor = 1 / tl.sqrt_rn(tl.sum(squares, 0) / columns + eps)
    scaled = wide * factor * tl.load(weight + offsets, mask=inside, other=0.0).to(tl.float32)
    if ADDED:
        scaled = scaled.to(out.dtype.element_ty).to(tl.float32)  # as torch rounds between the two
        scaled += tl.load(onto + offsets, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + offsets, scaled.to(out.dtype.element_ty), mask=inside)


@compiled_later
@triton.jit
def _norm_kernel(
    x,
    onto,
    weight,
    out,
    columns,
    eps,
    x_step,
    onto_step,
    out_step,
    ADDED: tl.constexpr,
    TILE: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """out = norm(x), added to `onto` where ADDED. WHOLE: a row is one tile, and is read once."""
    row = tl.program_id(0).to(tl.int64)
    x += row * x_step
    onto += row * onto_step
    out += row * out_step
    offsets = tl.arange(0, TILE)
    squares = tl.zeros([TILE], tl.float32)
    for start in range(0, columns, TILE):
        inside = start + offsets < columns
        wide = tl.load(x + start + offsets, mask=inside, other=0.0).to(tl.float32)
        squares += wide * wide
        if WHOLE:
            _write(wide, squares, weight, onto, out, columns, eps, offsets, inside, ADDED)
    if not WHOLE:
        for start in range(0, columns, TILE):
            inside = start + offsets < columns
            wide = tl.load(x + start + offsets, mask=inside, other=0.0).to(tl.float32)
            _write(wide, squares, weight, onto, out, columns, eps, start + offsets, inside, ADDED)


@compiled_later
@triton.jit
def _gate_kernel(gate_up, out, columns, step, out_step, GATE: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = offsets < columns
    gate = tl.load(gate_up + row * step + offsets, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * step + columns + offsets, mask=inside, other=0.0)
    if GATE == 0:
        curved = gate / (1 + tl.exp(-gate))
    else:
        inner = 0.7978845608028654 * (gate + 0.044715 * gate * gate * gate)
        curved = gate * (1 - 1 / (tl.exp(2 * inner) + 1))  # half of 1 + tanh
    curved = curved.to(out.dtype.element_ty).to(tl.float32)  # as torch rounds between the two
    tl.store(out + row * out_step + offsets, (curved * up.to(tl.float32)).to(out.dtype.element_ty), mask=inside)


def rms_norm(x: Tensor, norm: Norm, onto: Tensor | None = None) -> Tensor:
    """Of x [rows, columns]; added to `onto`, which stays as it is."""
    rows, columns = x.shape
    tile = min(triton.next_power_of_2(columns), _TILE)
    out = x.new_empty(rows, columns)
    beside = x if onto is None else onto
    _norm_kernel[(rows,)](
        x,
        beside,
        norm.weight,
        out,
        columns,
        norm.eps,
        x.stride(0),
        beside.stride(0),
        columns,
        ADDED=onto is not None,
        TILE=tile,
        WHOLE=columns <= tile,
        num_warps=4 if tile <= 2048 else 8,
    )
    return out


def gated(gate_up: Tensor, gate: Gate = "silu") -> Tensor:
    """gate's curve of the first half of gate_up's columns, times the second half."""
    rows, columns = gate_up.shape[0], gate_up.shape[1] // 2
    tile = min(triton.next_power_of_2(columns), _GATE_TILE)
    out = gate_up.new_empty(rows, columns)
    _gate_kernel[(rows, triton.cdiv(columns, tile))](
        gate_up, out, columns, gate_up.stride(0), columns, GATE=_GATES[gate], TILE=tile, num_warps=4
    )
    return out

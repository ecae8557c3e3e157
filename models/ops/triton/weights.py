# pyright: reportArgumentType=false, reportCallIssue=false
"""Matrices as the kernels of products take them, and how products are launched."""

from dataclasses import dataclass
from typing import Any, Final, Self

import torch
import triton
from torch import Tensor

from ...planes import Form, PlanesTensor
from .numbers import NUMBERS, SCALES, UNIT
from .products import few_kernel, many_kernel, rows_kernel, shares_kernel
from .tuning import FEW, ProductCut, few_cut, many_cut, splits_of

_ADDED_UP: Final = 1024  # outputs at once
_WHOLE_ROW: Final = 1 << 30  # columns: more than any has


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight, or those of several experts, as kernels take it: four tensors, their steps, and what these mean."""

    planes: tuple[Tensor, Tensor, Tensor, Tensor]
    form: Form
    experts: int
    outputs: int
    columns: int

    @property
    def scale_outputs(self) -> int:
        return -(-self.outputs // self.form.height)

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(plane.stride(0) if plane.dim() == 2 else 0 for plane in self.planes)

    @property
    def constants(self) -> dict[str, Any]:
        form = self.form
        return {
            "NUMBERS": NUMBERS[form.numbers],
            "SCALES": SCALES[form.scales],
            "LESS": float(form.zero),
            "SPAN": form.span,
            "GROUP": _WHOLE_ROW if form.group >= self.columns else form.group,
            "TALL": form.height,
            "SHIFTED": form.shifted,
        }

    @classmethod
    def of(cls, weight: PlanesTensor | Tensor) -> Self:
        """`weight` is [out, in] or [experts, out, in]; a plain one is contiguous."""
        experts, (outputs, columns) = weight.shape[0] if len(weight.shape) == 3 else 1, weight.shape[-2:]
        if isinstance(weight, Tensor):
            data = weight.view(-1, columns)
            form = Form("floats", "one", columns, dtype=weight.dtype)
            return cls((data, data, data, data), form, experts, outputs, columns)
        data, side = weight.data.view(weight.form.dtype), weight.side
        high = side["high"].view(torch.int32) if "high" in side else side.get("table", data)
        return cls((data, high, side["scales"], side.get("more", data)), weight.form, experts, outputs, columns)


def multiply(x: Tensor, matrix: Matrix, out: Tensor, bias: Tensor | None, onto: Tensor | None) -> None:
    """Write x @ matrix.T + bias + onto to `out` [rows, outputs], which may be part of a wider one, or `onto` itself."""
    if len(x) <= FEW:
        _few(x, matrix, out, bias, onto, None, len(x))
    else:
        _many(x, matrix, out, bias, onto)


def multiply_chosen(x: Tensor, matrix: Matrix, chosen: Tensor, out: Tensor) -> None:
    """Write to `out` [rows * choices, outputs] the products of x [rows, in] with the experts that `chosen` [rows,
    choices] int64 names. Nothing is read on the host.
    """
    flat = chosen.flatten()
    if len(flat) <= matrix.experts:
        _few(x, matrix, out, None, None, chosen, 1)
        return
    sorted_, order = flat.sort(stable=True)
    starts = torch.searchsorted(sorted_, torch.arange(matrix.experts + 1, device=x.device))
    rows = len(flat) // matrix.experts
    cut = many_cut(rows, matrix.form.span, x.element_size())
    blocks = len(flat) // cut.rows + matrix.experts
    _launch_many(x, matrix, out, None, None, cut, blocks, (order, starts.int()), matrix.experts, chosen.shape[1])


def take_rows(matrix: Matrix, ids: Tensor, out: Tensor) -> None:
    """Write these rows of the matrix to `out` [tokens, columns]."""
    spans = -(-matrix.columns // matrix.form.span)
    tile = min(128, triton.next_power_of_2(spans))
    rows_kernel[(len(ids), -(-spans // tile))](
        UNIT, ids, *matrix.planes, out, matrix.columns, out.stride(0), *matrix.steps,
        TILE=tile, num_warps=max(1, tile // 32), **matrix.constants,
    )  # fmt: skip


def _few(
    x: Tensor,
    matrix: Matrix,
    out: Tensor,
    bias: Tensor | None,
    onto: Tensor | None,
    chosen: Tensor | None,
    rows: int,
) -> None:
    cut = few_cut(matrix.outputs, matrix.columns, matrix.form.span)
    pairs = 1 if chosen is None else chosen.numel()
    few_kernel[(-(-matrix.outputs // cut.height), pairs)](
        UNIT,
        x,
        *matrix.planes,
        out if bias is None else bias,
        out if onto is None else onto,
        out,
        out if chosen is None else chosen,
        matrix.columns,
        matrix.outputs,
        matrix.scale_outputs,
        1 if chosen is None else chosen.shape[1],
        x.stride(0),
        0 if onto is None else onto.stride(0),
        out.stride(0),
        *matrix.steps,
        ROWS=rows,
        HEIGHT=cut.height,
        TILE=cut.tile,
        CHOSEN=chosen is not None,
        BIASED=bias is not None,
        ADDED=onto is not None,
        num_warps=cut.warps,
        **matrix.constants,
    )


def _many(x: Tensor, matrix: Matrix, out: Tensor, bias: Tensor | None, onto: Tensor | None) -> None:
    cut = many_cut(len(x), matrix.form.span, x.element_size())
    blocks, splits = -(-len(x) // cut.rows), splits_of(cut, matrix.outputs, matrix.columns)
    if splits == 1:
        _launch_many(x, matrix, out, bias, onto, cut, blocks, None, len(x), 1)
        return
    shares = x.new_empty(splits, len(x), matrix.outputs, dtype=torch.float32)
    _launch_many(x, matrix, shares[0], None, None, cut, blocks, None, len(x), 1, splits)
    shares_kernel[(len(x), -(-matrix.outputs // _ADDED_UP))](
        shares,
        out if bias is None else bias,
        out if onto is None else onto,
        out,
        matrix.outputs,
        shares.stride(0),
        0 if onto is None else onto.stride(0),
        out.stride(0),
        SPLITS=splits,
        TILE=_ADDED_UP,
        BIASED=bias is not None,
        ADDED=onto is not None,
        num_warps=4,
    )


def _launch_many(
    x: Tensor,
    matrix: Matrix,
    out: Tensor,
    bias: Tensor | None,
    onto: Tensor | None,
    cut: ProductCut,
    blocks: int,
    sorted_: tuple[Tensor, Tensor] | None,
    count: int,
    choices: int,
    splits: int = 1,
) -> None:
    order, starts = (out, out) if sorted_ is None else sorted_
    many_kernel[(blocks, -(-matrix.outputs // cut.height), splits)](
        UNIT,
        x,
        *matrix.planes,
        out if bias is None else bias,
        out if onto is None else onto,
        out,
        order,
        starts,
        matrix.columns,
        matrix.outputs,
        matrix.scale_outputs,
        count,
        choices,
        x.stride(0),
        0 if onto is None else onto.stride(0),
        out.stride(0),
        0 if splits == 1 else len(x) * matrix.outputs,
        *matrix.steps,
        ROWS=cut.rows,
        HEIGHT=cut.height,
        TILE=cut.tile,
        SORTED=sorted_ is not None,
        BIASED=bias is not None,
        ADDED=onto is not None,
        num_warps=cut.warps,
        num_stages=cut.stages,
        **matrix.constants,
    )

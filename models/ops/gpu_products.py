"""Products with packed weights and with experts on a GPU: by Triton's kernels where a call fits them.

A packed weight is arranged for them as it is placed on its device (`placed`); from then on its layout says that they
serve it. What does not fit them is told once each, and computed by plain torch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..arranging import arranged, misfit
from ..contract import Weight
from ..planes import PlanesTensor
from . import reference
from .gpu import INSTALLED, NUMBERS, or_plain, runs, tell
from .operands import Matrices, in_rows


def placed(weight: Weight) -> Weight:
    """A weight that lies on its device, as the kernels there read it; itself, where none do."""
    if isinstance(weight, Tensor) or len(weight.shape) not in (2, 3) or not _has_kernels(weight.device):
        return weight
    reason = misfit(weight)
    if reason is not None:
        tell("multiplies", reason)
    return weight if reason is not None or not runs(weight.device) else arranged(weight)


@or_plain(reference.packed_linear)
def linear(
    x: Tensor, weights: Sequence[PlanesTensor], biases: Sequence[Tensor | None], onto: Tensor | None = None
) -> Tensor:
    """x @ weight.T + bias of each, side by side, and onto: each product is written where it belongs."""
    if not _fits(x) or (onto is not None and onto.dtype != x.dtype) or not runs(x.device):
        return reference.packed_linear(x, weights, biases, onto)
    from .triton.weights import Matrix, multiply

    x, sizes = in_rows(x), [weight.shape[0] for weight in weights]
    out = x.new_empty(len(x), sum(sizes))  # not onto itself, which plain torch may need as it was
    added = [None] * len(sizes) if onto is None else torch.split(in_rows(onto), sizes, -1)
    for part, weight, bias, beside in zip(torch.split(out, sizes, -1), weights, biases, added, strict=True):
        columns = weight.side.get("columns")
        taken = x if columns is None else x.index_select(1, columns)
        multiply(taken, Matrix.of(weight), part, bias, beside)
    return out


@or_plain(reference.experts)
def experts(x: Tensor, weight: Matrices, chosen: Tensor) -> Tensor:
    """x [rows, in] times those matrices of `weight` that `chosen` [rows, choices] names; which, no host reads."""
    reason = _misfit_of_experts(weight)
    if reason is not None:
        tell("multiplies", reason)
    if reason is not None or not isinstance(weight, Tensor | PlanesTensor) or not _fits(x) or not runs(x.device):
        return reference.experts(x, weight, chosen)
    from .triton.weights import Matrix, multiply_chosen

    matrix = Matrix.of(weight)
    out = x.new_empty(chosen.numel(), matrix.outputs)
    multiply_chosen(in_rows(x), matrix, chosen.contiguous(), out)
    return out.view(*chosen.shape, -1)


@or_plain(reference.packed_embedding)
def embedding(ids: Tensor, table: PlanesTensor, dtype: torch.dtype) -> Tensor:
    """Rows of `table`: [tokens, columns]."""
    if dtype not in NUMBERS or "columns" in table.side or not len(ids) or not runs(ids.device):
        return reference.packed_embedding(ids, table, dtype)
    from .triton.weights import Matrix, take_rows

    out = torch.empty(len(ids), table.shape[-1], dtype=dtype, device=ids.device)
    take_rows(Matrix.of(table), ids.contiguous(), out)
    return out


def _has_kernels(device: torch.device) -> bool:
    return INSTALLED and device.type == "cuda"


def _fits(x: Tensor) -> bool:
    return x.dtype in NUMBERS and x.dim() == 2 and len(x) > 0


def _misfit_of_experts(weight: Matrices) -> str | None:
    if isinstance(weight, tuple):
        return "experts that lie apart"
    if isinstance(weight, PlanesTensor):
        return "experts whose columns were sorted" if "columns" in weight.side else None
    return None if isinstance(weight, Tensor) and weight.is_contiguous() else "experts that lie in no one stack of rows"

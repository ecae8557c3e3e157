"""What kernels do to rows and heads before and beside attention, against plain torch.

The interpreter cuts numbers off where bf16 rounds them: of these the last bit is not compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import PagedView
from unillm.models.ops import reference, reference_attention
from unillm.models.ops.triton import heads, rows

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # as the interpreter goes past all

# Whole tiles, tails, and rows of several tiles.
COLUMNS = (1, 5, 64, 4097)
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("added", [False, True], ids=["alone", "added"])
def test_a_norm_of_rows_that_lie_apart(columns: int, dtype: torch.dtype, added: bool) -> None:
    whole = torch.randn(3, columns + 7).to(dtype)
    x, norm = whole[:, 3 : columns + 3], ops.Norm(torch.randn(columns), 1e-5)
    onto, given = torch.randn(3, columns).to(dtype) if added else None, whole.clone()
    got = rows.rms_norm(x, norm, onto)
    sum_of = 0 if onto is None else onto
    once = torch.finfo(dtype).eps  # of the norm, which may be larger than the sum
    torch.testing.assert_close(got, sum_of + reference.rms_norm(x, norm), rtol=4 * once, atol=4 * once)
    assert torch.equal(whole, given)


CURVES: dict[rows.Gate, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("gate", CURVES)
@pytest.mark.parametrize("columns", [1, 100, 1025])
def test_a_gate_multiplies(columns: int, gate: rows.Gate, dtype: torch.dtype) -> None:
    both = (3 * torch.randn(3, 2 * columns + 5)).to(dtype)[:, : 2 * columns]
    both[0, 0] = 30000.0
    left, right = both.chunk(2, -1)
    once = torch.finfo(dtype).eps  # two roundings may each fall to the other side
    torch.testing.assert_close(rows.gated(both, gate), CURVES[gate](left) * right, rtol=max(2 * once, 2e-6), atol=1e-5)


def view(kv_heads: int, dim: int, dtype: torch.dtype) -> PagedView:
    """Pages as a pool has them: a head's tokens one behind the other."""
    pages = torch.zeros(9, 2, kv_heads, 16, dim, dtype=dtype).transpose(2, 3)
    scales = torch.zeros(9, 16, kv_heads) if dtype is torch.int8 else None
    slots = torch.tensor([17, 140, 3, 64, 63])
    return PagedView(
        pages[:, 0],
        pages[:, 1],
        torch.zeros(1, 1, dtype=torch.int32),
        slots,
        scales,
        None if scales is None else scales.clone(),
    )


def case(heads_: tuple[int, int], dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    q, k, v = (
        torch.randn(5, sum(heads_) + heads_[1], dim).to(dtype).split_with_sizes((heads_[0], heads_[1], heads_[1]), 1)
    )
    return q, k, v


def stored_by_reference(
    q: Tensor, k: Tensor, v: Tensor, norms: Sequence[ops.Norm | None], rotation: ops.Rotation | None, into: PagedView
) -> Tensor:
    q, k = (x if norm is None else reference.rms_norm(x, norm) for x, norm in zip((q, k), norms, strict=True))
    if rotation is not None:
        q, k = reference.rotate(q, rotation), reference.rotate(k, rotation)
    reference_attention._store(into.keys, into.key_scales, into.slots, k)
    reference_attention._store(into.values, into.value_scales, into.slots, v)
    return q


def turns(pairs: int, interleaved: bool = False) -> ops.Rotation:
    angles = 6 * torch.rand(5, pairs)
    return ops.Rotation(angles.cos(), angles.sin(), interleaved)


@pytest.mark.parametrize("normed", [False, True], ids=["as they are", "normed"])
@pytest.mark.parametrize(
    ("dim", "rotation"),
    [(32, None), (20, turns(10)), (32, turns(16, True)), (40, turns(8)), (7, None)],
    ids=["unturned", "halves", "neighbours", "a part", "odd"],
)
def test_heads_are_normed_turned_and_stored(dim: int, rotation: ops.Rotation | None, normed: bool) -> None:
    norms = [ops.Norm(torch.rand(dim), eps) if normed else None for eps in (1e-6, 1e-5)]
    q, k, v = case((9, 3), dim, torch.float16)
    got, wanted = view(3, dim, torch.float16), view(3, dim, torch.float16)
    turned = stored_by_reference(q, k, v, norms, rotation, wanted)
    heads.prepare(q, k, v, norms[0], norms[1], rotation, got)
    torch.testing.assert_close(q, turned)
    torch.testing.assert_close(got.keys, wanted.keys)
    assert torch.equal(got.values, wanted.values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8], ids=str)
def test_pages_of_another_type_hold_what_the_reference_stores(dtype: torch.dtype) -> None:
    q, k, v = case((4, 2), 32, torch.float32)
    k[1, 0, 3], v[2] = torch.nan, 1e-37
    got, wanted = view(2, 32, dtype), view(2, 32, dtype)
    stored_by_reference(q, k, v, (None, None), turns(16), wanted)
    torch.manual_seed(3)
    heads.prepare(q, k, v, None, None, turns(16), got)
    for name in ("values", "value_scales"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), equal_nan=True)


def test_floats_of_eight_bits_do_not_overflow() -> None:
    q, k, v = case((4, 2), 32, torch.float32)
    v[0, 0, :2] = torch.tensor([1000.0, -1e9])
    got = view(2, 32, torch.float32)
    small = replace(got, keys=got.keys.to(torch.float8_e4m3fn), values=got.values.to(torch.float8_e4m3fn))
    heads.prepare(q, k, v, None, None, None, small)
    stored = small.values[17 // 16, 17 % 16].float()
    assert stored[0, :2].tolist() == [448.0, -448.0]
    torch.testing.assert_close(stored[1], v[0, 1], rtol=0.5, atol=0.02)

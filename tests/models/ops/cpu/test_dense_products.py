"""Products with weights as a file has them, against double precision: every kind of number, sizes that no vector
divides, and the same bits for a row alone and among others.
"""

import ctypes

import pytest
import torch
from torch import Tensor

from unillm.models.ops.cpu.library import Context, Multiplication, Product
from unillm.models.ops.cpu.products import NUMBERS
from unillm.tests.models.ops.cpu import machine

SHAPES = ((1, 1), (5, 31), (16, 32), (17, 33), (40, 100), (50, 2048), (33, 2049), (24, 4500))
ROWS = (1, 2, 3, 4, 5, 7, 8, 64, 67, 130)
dtypes = pytest.mark.parametrize("dtype", list(NUMBERS), ids=str)


@pytest.fixture
def context(instruction_set: str) -> Context:
    torch.manual_seed(0)
    return machine.open_context(instruction_set)


def times(
    context: Context, x: Tensor, weights: list[Tensor], *, exact: bool = False, onto: Tensor | None = None
) -> Tensor:
    y = torch.full((len(x), sum(map(len, weights))), torch.nan, dtype=x.dtype) if onto is None else onto
    products, at = (Product * len(weights))(), y.data_ptr()
    for product, weight in zip(products, weights, strict=True):
        product.weight, product.kind, product.weight_stride = weight.data_ptr(), NUMBERS[weight.dtype], weight.stride(0)
        product.accumulate, product.columns, product.y, product.y_stride = (
            onto is not None,
            len(weight),
            at,
            y.stride(0),
        )
        at += len(weight) * y.element_size()
    call = Multiplication(products, x.data_ptr(), x.stride(0), *x.shape, len(weights), NUMBERS[x.dtype], exact)
    context.library.unillm_dense(context.handle, ctypes.byref(call))
    return y


def far(found: Tensor, x: Tensor, weight: Tensor) -> float:
    """The largest error, next to the sum of the products' sizes."""
    wide, size = x.double() @ weight.double().T, x.double().abs() @ weight.double().abs().T
    return float(((found.double() - wide).abs() / size.clamp(min=1e-30)).max())


@machine.each_set
@dtypes
@pytest.mark.parametrize("x_dtype", list(NUMBERS), ids=str)
def test_products_are_those_of_double_precision(context: Context, dtype: torch.dtype, x_dtype: torch.dtype) -> None:
    for columns, depth in SHAPES:
        weight = torch.randn(columns, depth).to(dtype)
        for rows in ROWS[:: 1 if depth < 200 else 3]:
            x = torch.randn(rows, depth).to(x_dtype)
            rounding = {torch.float32: 0.0, torch.float16: 5e-4, torch.bfloat16: 4e-3}[x_dtype]
            assert far(times(context, x, [weight], exact=True), x, weight) < 1e-6 + rounding
            met = x.bfloat16() if dtype is torch.bfloat16 else x  # what it may be rounded to
            assert min(far(times(context, x, [weight]), each, weight) for each in (x, met)) < 1e-6 + rounding


@machine.each_set
@dtypes
@pytest.mark.parametrize("exact", [False, True])
def test_a_row_has_the_same_bits_alone_and_among_others(context: Context, dtype: torch.dtype, exact: bool) -> None:
    for columns, depth in ((70, 2100), (5, 40)):
        weight, x = torch.randn(columns, depth).to(dtype), torch.randn(135, depth)
        together = times(context, x, [weight], exact=exact)
        for first, last in ((0, 1), (3, 5), (7, 10), (131, 135), (20, 90)):
            assert torch.equal(times(context, x[first:last], [weight], exact=exact), together[first:last])


@machine.each_set
def test_several_weights_side_by_side_and_onto_something(context: Context) -> None:
    weights = [torch.randn(20, 96), torch.randn(7, 96).bfloat16(), torch.randn(33, 96).half()]
    x, onto = torch.randn(6, 96), torch.randn(6, 60)
    wanted = torch.cat([times(context, x, [weight]) for weight in weights], -1)
    assert torch.equal(times(context, x, weights), wanted)
    assert torch.equal(times(context, x, weights, onto=onto.clone()), onto + wanted)


@machine.each_set
def test_rows_of_a_weight_may_lie_apart(context: Context) -> None:
    wide, x = torch.randn(40, 200), torch.randn(3, 90)
    assert torch.equal(times(context, x, [wide[:, 50:140]]), times(context, x, [wide[:, 50:140].contiguous()]))


@pytest.mark.slow
@machine.each_set
@dtypes
@pytest.mark.parametrize("rows", [1, 3, 16, 200, 513, 4096])
def test_product_cases(context: Context, dtype: torch.dtype, rows: int) -> None:
    for columns, depth in ((576, 1536), (1024, 3072), (513, 4097)):
        weight, x = torch.randn(columns, depth).to(dtype), torch.randn(rows, depth).bfloat16().float()
        assert far(times(context, x, [weight]), x, weight) < 1e-6

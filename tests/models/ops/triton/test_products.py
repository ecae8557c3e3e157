"""Products of packed weights against those of their exact numbers: every kind, few rows and many, tails and strides."""

import pytest
import torch
from torch import Tensor

from unillm.models.arranging import arranged
from unillm.models.contract import Part
from unillm.models.ops.triton import weights
from unillm.models.planes import Form, PlanesTensor
from unillm.models.quantized import INT8, QuantizedTensor
from unillm.tests.models.ops.cpu.blocks import random_blocks
from unillm.tests.models.published.test_matrices import read
from unillm.tests.models.test_planes import BLOCKS

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # as the interpreter goes past all

PUBLISHED = ("gptq4-zeros", "gptq8", "awq", "ct-int4-group", "fp8-block", "nf4")


def packed(kind: str, *shape: int) -> PlanesTensor:
    if kind == INT8:
        numbers = torch.randint(0, 256, shape, dtype=torch.uint8).flatten(0, -2)
        return arranged(QuantizedTensor(INT8, shape, numbers, side={"scale": torch.rand(len(numbers)) / 100}))
    if kind not in BLOCKS:
        weight = arranged(read(kind))
        return weight.part(Part(0, 0, min(shape[0], weight.shape[0])))
    rows = torch.Size(shape[:-1]).numel()
    return arranged(QuantizedTensor(kind, shape, random_blocks(kind, rows, shape[-1])))


def held(weight: PlanesTensor, rows: int, dtype: torch.dtype = torch.float32) -> None:
    """With a bias and onto what is there, in part of a wider result, of rows that lie apart."""
    outputs, columns = weight.shape
    numbers = weight.dequantize()
    x = torch.randn(rows, columns + 3).to(dtype)[:, :columns]
    bias, wide = torch.randn(outputs), torch.full((rows, outputs + 5), 7.0).to(dtype)
    out, before = wide[:, 2 : outputs + 2], torch.randn(rows, outputs).to(dtype)
    used = numbers if rows <= 4 else numbers.to(dtype).float()
    wanted = x.double() @ used.double().T
    scale = float(wanted.abs().max())
    allowed = 1e-5 if dtype is torch.float32 else 1e-2
    weights.multiply(x, weights.Matrix.of(weight), out, bias, before)
    torch.testing.assert_close(out.double(), wanted + bias + before, rtol=allowed, atol=allowed * scale)
    assert torch.equal(wide[:, [0, 1, -1]], torch.full((rows, 3), 7.0).to(dtype))
    weights.multiply(x, weights.Matrix.of(weight), out, None, None)
    torch.testing.assert_close(out.double(), wanted, rtol=allowed, atol=allowed * scale)


def columns_of(kind: str) -> int:
    return 256 if "_K" in kind or "_XS" in kind else 96


@pytest.mark.parametrize("kind", [*BLOCKS, INT8, *PUBLISHED])
def test_few_rows(kind: str) -> None:
    held(packed(kind, 3, columns_of(kind)), 2)


@pytest.mark.parametrize("kind", [*BLOCKS, INT8, *PUBLISHED])
def test_many_rows(kind: str) -> None:
    held(packed(kind, 3, columns_of(kind)), 7)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "dtype"), [(3, torch.bfloat16), (33, torch.float16)], ids=["few bf16", "many halves"])
@pytest.mark.parametrize("kind", [*(kind for kind in BLOCKS if kind != "MXFP4"), INT8, *PUBLISHED])
def test_narrow_activations(kind: str, rows: int, dtype: torch.dtype) -> None:
    """The interpreter multiplies no matrices of bf16: it takes their bits for whole numbers. MXFP4's random blocks are
    beyond what halves hold.
    """
    held(packed(kind, 20, 768), rows, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4, 5, 16, 17, 40, 70])
@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "fp8-block"])
def test_every_number_of_rows(kind: str, rows: int) -> None:
    held(packed(kind, 70, 1280), rows)


def test_bytes_whose_rows_end_anywhere() -> None:
    for rows in (1, 6):
        held(packed(INT8, 5, 37), rows)


def test_columns_in_shares_and_several_tiles() -> None:
    for rows in (1, 5):
        held(packed("Q8_0", 3, 2080), rows)


def choices(rows: int, count: int, experts: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(experts, generator=generator)[:count] for _ in range(rows)])


def chosen_products(weight: PlanesTensor | Tensor, numbers: Tensor, rows: int, count: int) -> None:
    x, chosen = torch.randn(rows, weight.shape[2] + 4)[:, 2:-2], choices(rows, count, weight.shape[0])
    wanted = torch.einsum("ri,rcoi->rco", x, numbers[chosen])
    out = torch.full((rows * count, weight.shape[1]), torch.nan)
    weights.multiply_chosen(x, weights.Matrix.of(weight), chosen, out)
    torch.testing.assert_close(out.view(wanted.shape), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(("rows", "count"), [(1, 3), (9, 2)], ids=["decoding", "a prompt"])
def test_experts_multiply_the_rows_that_chose_them(rows: int, count: int) -> None:
    plain = torch.randn(5, 6, 40)
    chosen_products(plain, plain, rows, count)
    weight = packed("Q4_0", 5, 6, 64)
    chosen_products(weight, weight.dequantize(), rows, count)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 4), (3, 1), (40, 4), (70, 1)])
@pytest.mark.parametrize("kind", ["Q4_0", "Q6_K", "MXFP4", INT8])
def test_kinds_of_experts(kind: str, rows: int, count: int) -> None:
    weight = packed(kind, 6, 20, 512)
    chosen_products(weight, weight.dequantize(), rows, count)


def test_experts_whose_blocks_of_scales_are_cut_short() -> None:
    """Three experts of 5 rows, of which four share a scale: each has two of its own."""
    numbers, scales = torch.randn(3, 5, 64).to(torch.float8_e4m3fn), torch.rand(3, 2, 2)
    form = Form("floats", "plain", 32, height=4, dtype=torch.float8_e4m3fn)
    weight = PlanesTensor(
        "FP8", (3, 5, 64), numbers.view(torch.uint8).flatten(0, 1), side={"scales": scales.flatten(0, 1)}, form=form
    )
    wide = scales.repeat_interleave(4, 1)[:, :5].repeat_interleave(32, 2)
    torch.testing.assert_close(weight.dequantize(), numbers.float() * wide)
    for rows in (1, 4):
        chosen_products(weight, numbers.float() * wide, rows, 1)


@pytest.mark.parametrize("kind", ["Q6_K", "nf4", pytest.param("Q5_K", marks=pytest.mark.slow)])
def test_rows_of_a_table(kind: str) -> None:
    weight, ids = packed(kind, 9, 512), torch.tensor([2, 0, 7, 2])
    out = torch.zeros(4, weight.shape[1] + 3)
    weights.take_rows(weights.Matrix.of(weight), ids, out[:, 1:-2])
    torch.testing.assert_close(out[:, 1:-2], weight.dequantize()[ids], rtol=1e-6, atol=1e-6)


def test_a_row_comes_out_the_same_alone_and_in_company_bit_for_bit() -> None:
    matrix, x = weights.Matrix.of(packed("Q4_K", 6, 512)), torch.randn(12, 512)
    few, many, alone = torch.empty(4, 6), torch.empty(12, 6), torch.empty(1, 6)
    weights.multiply(x[:4], matrix, few, None, None)
    weights.multiply(x[3:4], matrix, alone, None, None)
    assert torch.equal(few[3:], alone)
    weights.multiply(x, matrix, many, None, None)
    half = torch.empty(6, 6)
    weights.multiply(x[6:], matrix, half, None, None)
    assert torch.equal(many[6:], half)

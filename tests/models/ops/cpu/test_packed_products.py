"""Products with packed weights, held against the exact numbers of the blocks: every kind, every instruction set, odd
sizes, and the same bits for a row whatever the number of rows.
"""

import pytest
import torch

from unillm.models.ops.cpu.library import Context
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.ops.cpu.blocks import KINDS, Packed, in_int8, numbers_of, pack, pack_int8, random_blocks

SHAPES = ((1, 256), (17, 512), (40, 2560))
ROWS = (67, 1, 2, 3, 4, 5, 7, 16, 33)
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def context(instruction_set: str) -> Context:
    return machine.open_context(instruction_set)


def activations(rows: int, columns: int) -> torch.Tensor:
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    x[rows // 2] = 0
    return x


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def packed_pair(context: Context, kind: str, rows: int, columns: int) -> tuple[Packed, torch.Tensor]:
    blocks = random_blocks(kind, rows, columns)
    return pack(context, kind, blocks, columns), numbers_of(kind, blocks).double()


@machine.each_set
@kinds
def test_a_product_is_that_of_the_blocks_numbers_and_rounded_activations(context: Context, kind: str) -> None:
    for rows, columns in SHAPES:
        weight, numbers = packed_pair(context, kind, rows, columns)
        x = activations(ROWS[0], columns)
        assert relative_error(weight.times(x), in_int8(x) @ numbers.T) < 1e-5


@machine.each_set
@kinds
def test_an_exact_product_rounds_no_activation(context: Context, kind: str) -> None:
    for rows, columns in SHAPES:
        weight, numbers = packed_pair(context, kind, rows, columns)
        x = activations(ROWS[0], columns)
        assert relative_error(weight.times(x, exact=True), x.double() @ numbers.T) < 1e-5


@machine.each_set
@kinds
@pytest.mark.parametrize("exact", [False, True])
def test_a_row_has_the_same_bits_in_every_batch(context: Context, kind: str, exact: bool) -> None:
    weight, _ = packed_pair(context, kind, 40, 2560)
    x = activations(ROWS[0], 2560)
    together = weight.times(x, exact=exact)
    for rows in ROWS[1:]:
        assert torch.equal(weight.times(x[:rows], exact=exact), together[:rows])
    assert torch.equal(weight.times(x[20:21], exact=exact), together[20:21])


@machine.each_set
@kinds
def test_packing_adds_nothing_to_whole_tiles(context: Context, kind: str) -> None:
    blocks = random_blocks(kind, 32, 512)
    assert pack(context, kind, blocks, 512).data.nbytes == blocks.nbytes


@machine.each_set
@pytest.mark.parametrize(("rows", "columns"), [(17, 70), (5, 31), (33, 256)])
def test_rows_of_int8_may_have_any_length(context: Context, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(2)
    quantized = torch.randint(-128, 128, (rows, columns), dtype=torch.int8, generator=generator)
    scales = torch.rand(rows, generator=generator)
    weight = pack_int8(context, quantized, scales)
    x, numbers = activations(19, columns), quantized.double() * scales.double()[:, None]
    assert relative_error(weight.times(x), in_int8(x) @ numbers.T) < 1e-5
    assert relative_error(weight.times(x, exact=True), x.double() @ numbers.T) < 1e-5


@machine.each_set
def test_a_product_may_be_added_to_what_is_there(context: Context) -> None:
    weight, _ = packed_pair(context, "Q4_K", 40, 512)
    x = activations(7, 512)
    residual = torch.ones(7, 40)
    assert torch.equal(weight.times(x, onto=residual.clone()), residual + weight.times(x))


@machine.each_set
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_activations_of_sixteen_bits_are_read_as_they_are(context: Context, dtype: torch.dtype) -> None:
    weight, _ = packed_pair(context, "Q8_0", 40, 512)
    x = activations(7, 512).to(dtype)
    assert torch.equal(weight.times(x), weight.times(x.float()))


@machine.each_set
def test_rows_may_lie_apart(context: Context) -> None:
    weight, _ = packed_pair(context, "Q6_K", 40, 512)
    x = activations(7, 700)[:, 100:612]
    assert torch.equal(weight.times(x), weight.times(x.contiguous()))


@pytest.mark.slow
@machine.each_set
@kinds
@pytest.mark.parametrize(("rows", "columns"), [(48, 4608), (1000, 1024), (33, 8448)])
def test_thousands_of_rows(context: Context, kind: str, rows: int, columns: int) -> None:
    weight, numbers = packed_pair(context, kind, rows, columns)
    x = activations(4096 if rows < 100 else 1031, columns)
    together = weight.times(x)
    assert relative_error(together, in_int8(x) @ numbers.T) < 1e-5
    for row in (0, 511, 512, len(x) - 1):
        assert torch.equal(weight.times(x[row : row + 1]), together[row : row + 1])

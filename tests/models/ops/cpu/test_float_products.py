"""Products with weights whose numbers are floats of 8 or 4 bits, held against the exact numbers: fp32 all the way."""

import pytest
import torch

from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.quantized import QuantizedTensor
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.ops.cpu.blocks import numbers_of, pack, random_blocks
from unillm.tests.models.ops.cpu.test_packed_products import ROWS, activations, relative_error

kinds = pytest.mark.parametrize("kind", ["E4M3", "E5M2", "NF4", "FP4"])


@machine.each_set
@kinds
def test_a_product_is_that_of_the_numbers(instruction_set: str, kind: str) -> None:
    context = machine.open_context(instruction_set)
    for rows, columns in ((1, 128), (17, 384), (75, 1408)):
        blocks = random_blocks(kind, rows, columns)
        weight, numbers = pack(context, kind, blocks, columns), numbers_of(kind, blocks).double()
        x = activations(ROWS[0], columns)
        together = weight.times(x)
        assert relative_error(together, x.double() @ numbers.T) < 1e-5
        assert torch.equal(weight.times(x, exact=True), together)
        for count in ROWS[1:]:
            assert torch.equal(weight.times(x[:count]), together[:count])
        assert torch.equal(weight.times(x[3:4], onto=torch.ones(1, rows)), together[3:4] + 1)


@machine.each_set
@kinds
def test_rows_of_a_table_and_products_of_experts(instruction_set: str, kind: str) -> None:
    kernels = Kernels(machine.open_context(instruction_set), instruction_set)
    blocks = random_blocks(kind, 120, 256)
    numbers = numbers_of(kind, blocks)
    table = kernels.pack(QuantizedTensor(kind, (120, 256), blocks))
    ids = torch.tensor([3, 119, 0])
    assert torch.equal(kernels.embedding(ids, table, torch.float32), numbers[ids])
    stack = kernels.pack(QuantizedTensor(kind, (3, 40, 256), blocks))
    x, chosen = activations(7, 256), torch.tensor([[0, 2], [1, 1], [2, 0], [0, 1], [2, 2], [1, 0], [0, 0]])
    wanted = torch.einsum("rk,rcnk->rcn", x.double(), numbers.double().view(3, 40, 256)[chosen])
    assert relative_error(kernels.experts(x, stack, chosen), wanted) < 1e-5

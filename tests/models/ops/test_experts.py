"""Products with the experts that rows choose, held against one product after another in fp64."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import Part
from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.quantized import QuantizedTensor
from unillm.tests.models.ops.cpu.blocks import random_blocks

EXACT = Kernels.open(2, exact=True)
ROUNDED = Kernels.open(2)
needs_kernels = pytest.mark.skipif(EXACT is None, reason="no CPU kernels here")


def packed(kind: str, experts: int, rows: int, columns: int) -> QuantizedTensor:
    return QuantizedTensor(kind, (experts, rows, columns), random_blocks(kind, experts * rows, columns))


def choices(rows: int, count: int, experts: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(experts, generator=generator)[:count] for _ in range(rows)])


def one_by_one(x: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
    rows = [[weight[expert].double() @ row.double() for expert in each] for row, each in zip(x, chosen, strict=True)]
    return torch.stack([torch.stack(row) for row in rows])


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_plain_weights_and_packed_ones_are_multiplied_by_those_that_chose_them(rows: int) -> None:
    weight, x = packed("Q8_0", 6, 24, 64), torch.randn(rows, 64, generator=torch.Generator().manual_seed(1))
    chosen, numbers = choices(rows, 2, 6), weight.dequantize()
    wanted = one_by_one(x, numbers, chosen)
    assert error(ops.experts(x, weight, chosen), wanted) < 1e-5
    assert error(ops.experts(x, numbers, chosen), wanted) < 1e-5


@needs_kernels
@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "MXFP4", "IQ4_XS"])
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 4), (7, 3), (70, 2)])
def test_kernels_do_the_same(kind: str, rows: int, count: int) -> None:
    assert EXACT is not None
    weight = packed(kind, 5, 40, 512)
    x, chosen = torch.randn(rows, 512, generator=torch.Generator().manual_seed(1)), choices(rows, count, 5)
    found = ops.experts(x, EXACT.pack(weight), chosen, EXACT)
    assert error(found, one_by_one(x, weight.dequantize(), chosen)) < 1e-5


@needs_kernels
def test_a_row_has_the_same_bits_whoever_else_chose_its_expert() -> None:
    assert ROUNDED is not None
    weight = ROUNDED.pack(packed("Q4_K", 5, 48, 512))
    x, chosen = torch.randn(50, 512, generator=torch.Generator().manual_seed(1)), choices(50, 3, 5)
    together = ops.experts(x, weight, chosen, ROUNDED)
    alone = [ops.experts(x[i : i + 1], weight, chosen[i : i + 1], ROUNDED) for i in range(50)]
    assert torch.equal(together, torch.cat(alone))


@needs_kernels
def test_the_matrix_of_one_expert_is_that_of_its_rows_alone() -> None:
    assert ROUNDED is not None
    weight = packed("Q8_0", 4, 24, 64)
    second = replace(weight.part(Part(0, 2, 3)), shape=(24, 64))
    assert torch.equal(ROUNDED.pack(weight).part(Part(0, 2, 3)).data, ROUNDED.pack(second).data)

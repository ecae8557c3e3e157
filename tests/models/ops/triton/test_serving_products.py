"""What a GPU multiplies packed weights and experts with: kernels where a call fits them, plain torch where not."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.arranging import arranged
from unillm.models.ops import gpu, gpu_products, reference
from unillm.models.parts.moe import together
from unillm.models.planes import PLANES, PlanesTensor
from unillm.models.quantized import QuantizedTensor
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.ops.triton.test_serving import served
from unillm.tests.models.paged import Pages
from unillm.tests.models.published.test_matrices import read
from unillm.tests.models.test_planes import blocks

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")


@pytest.fixture
def _kernels_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(gpu_products, "_has_kernels", lambda _: True)
    gpu.tell.cache_clear()


def test_a_gpu_has_kernels_for_planes_and_experts() -> None:
    for table in (ops._LINEAR, ops._EXPERTS, ops._EMBEDDING):
        assert served(table, PLANES)
    assert served(ops._EXPERTS, "dense")


@pytest.mark.usefixtures("_kernels_everywhere")
def test_what_is_placed_where_kernels_are_is_arranged_and_what_has_no_planes_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, line = torch.ones(2, 2), QuantizedTensor("Q4_0", (32,), blocks("Q4_0", 1, 32).data)
    with caplog.at_level(logging.WARNING):
        assert isinstance(gpu_products.placed(blocks("Q4_0", 2, 32)), PlanesTensor)
        assert gpu_products.placed(plain) is plain
        assert gpu_products.placed(line) is line
        for _ in range(2):
            apart = blocks("Q2_K", 2, 256)
            assert gpu_products.placed(apart) is apart
    assert [record.getMessage() for record in caplog.records] == [
        "plain torch multiplies on the GPU, not our kernels, because of weights of Q2_K"
    ]


def test_elsewhere_nothing_is_arranged() -> None:
    weight = blocks("Q4_0", 2, 32)
    assert gpu_products.placed(weight) is weight


@pytest.mark.parametrize("onto", [False, True], ids=["new", "onto"])
def test_products_are_written_or_added_side_by_side(onto: bool) -> None:
    weights = [arranged(blocks("Q4_0", size, 64)) for size in (4, 2)]
    x, biases = torch.randn(3, 64), [torch.randn(4), None]
    base = torch.randn(3, 6) if onto else None
    wanted = reference.packed_linear(x, weights, biases, base)
    torch.testing.assert_close(gpu_products.linear(x, weights, biases, base), wanted, rtol=1e-5, atol=1e-5)


def test_columns_that_were_sorted_meet_their_own() -> None:
    weight = arranged(read("gptq4-order"))
    x = torch.randn(2, weight.shape[1])
    assert "columns" in weight.side
    wanted = x @ weight.dequantize().T
    torch.testing.assert_close(gpu_products.linear(x, [weight], [None]), wanted, rtol=1e-5, atol=1e-4)


def test_rows_of_a_packed_table() -> None:
    table, ids = arranged(blocks("Q8_0", 5, 64)), torch.tensor([3, 0, 3])
    got = gpu_products.embedding(ids, table, torch.float16)
    assert got.dtype == torch.float16
    torch.testing.assert_close(got, table.dequantize(torch.float16)[ids])
    assert gpu_products.embedding(ids, table, torch.float64).dtype == torch.float64


def products_of(x: Tensor, numbers: Tensor, chosen: Tensor) -> Tensor:
    return torch.einsum("ri,rcoi->rco", x, numbers[chosen])


def test_experts_that_lie_apart_are_stacked_where_they_are_alike() -> None:
    parts = [arranged(blocks("Q4_0", 3, 32)) for _ in range(2)]
    stack, chosen, x = together(parts), torch.tensor([[0, 1], [1, 0], [1, 1]]), torch.randn(3, 32)
    assert isinstance(stack, PlanesTensor)
    wanted = products_of(x, stack.dequantize(), chosen)
    torch.testing.assert_close(gpu_products.experts(x, stack, chosen), wanted, rtol=1e-5, atol=1e-5)
    other = replace(parts[1], form=replace(parts[1].form, zero=7))
    assert isinstance(together([parts[0], other]), tuple)


def test_experts_share_the_table_that_they_choose_from() -> None:
    parts = [arranged(blocks("IQ4_NL", 3, 32)) for _ in range(2)]
    stack = together(parts)
    assert isinstance(stack, PlanesTensor)
    assert torch.equal(stack.side["table"], parts[0].side["table"])
    assert torch.equal(stack.dequantize(), torch.stack([part.dequantize() for part in parts]))
    other = replace(parts[1], side={**parts[1].side, "table": 2 * parts[1].side["table"]})
    assert isinstance(together([parts[0], other]), tuple)


@pytest.mark.usefixtures("_kernels_everywhere")
def test_experts_in_no_stack_of_rows_are_multiplied_by_plain_torch(caplog: pytest.LogCaptureFixture) -> None:
    turned = torch.randn(2, 6, 4).transpose(1, 2)
    x, chosen = torch.randn(2, 6), torch.tensor([[1], [0]])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            torch.testing.assert_close(gpu_products.experts(x, turned, chosen), products_of(x, turned, chosen))
    assert [record.getMessage() for record in caplog.records] == [
        "plain torch multiplies on the GPU, not our kernels, because of experts that lie in no one stack of rows"
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("_kernels_everywhere")
@pytest.mark.parametrize("name", ["qwen3", "qwen3-moe"])
def test_a_model_whose_weights_were_placed_is_what_plain_torch_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of matrices that are packed as they are loaded; every operation is a GPU's."""
    row = zoo.BY_NAME[name]
    place = replace(zoo.PLACE, quantize=lambda _, shape: "Q8_0" if shape[-1] % 32 == 0 else None)
    files, ids = zoo.save(zoo.reference(row), tmp_path), zoo.prompt(row, 12)
    model = load_model(files, place)
    packed = [weight for weight in model.weights() if isinstance(weight, QuantizedTensor)]
    assert packed
    assert all(isinstance(weight, PlanesTensor) for weight in packed)
    wanted = Pages(model).whole(ids)
    monkeypatch.setattr(ops, "place_of", lambda *_: "cuda")
    pages = Pages(model)
    got = torch.cat([pages.run({0: some})[0] for some in (ids[:9], ids[9:10], ids[10:])])
    assert zoo.distance(got, wanted) <= zoo.TOLERANCE

"""What a GPU is served with: the kernels where a call fits them, plain torch where not, and that is told."""

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch

from unillm.models import ops
from unillm.models.contract import AttentionSpec
from unillm.models.ops import gpu, reference, scans
from unillm.models.ops.table import Table
from unillm.tests.models.ops.test_attention import DIM, HEADS, KV_HEADS, SPECS, Case

MIXED = ((1, 37), (40, 40), (1, 9), (5, 40))


def served(table: Table[Any], kind: str) -> bool:
    """Whether a GPU has an implementation of its own."""
    return table.choose(kind, "cuda", 1) is not table.choose(kind, "mps", 1)


def test_a_gpu_has_kernels_and_other_devices_plain_torch() -> None:
    for table in (ops._RMS_NORM, ops._SILU_MUL, ops._GELU_MUL, ops._ATTENTION):
        assert all(served(table, str(dtype)) for dtype in gpu.NUMBERS)
        assert not served(table, str(torch.float64))
    for table in (scans._MATRIX_SCAN, scans._SELECTIVE_SCAN, scans._CAUSAL_CONV, scans._GATED_SCAN, scans._PREVIOUS):
        assert served(table, str(torch.float32))


def test_all_of_a_layers_attention_is_what_plain_torch_computes() -> None:
    angles = torch.rand(47, DIM // 2)
    rotation, norms = (
        ops.Rotation(angles.cos(), angles.sin()),
        [ops.Norm(torch.rand(DIM), eps) for eps in (1e-5, 1e-6)],
    )
    ours, plain = Case(MIXED), Case(MIXED)
    operands = [
        (*case._new(), norms[0], norms[1], rotation, SPECS["plain"], case.view, case._batch()) for case in (ours, plain)
    ]
    got = gpu.attention(*operands[0])
    torch.testing.assert_close(got, ops.reference_attention.attention(*operands[1]), rtol=1e-5, atol=1e-5)
    slots = ours.view.slots
    torch.testing.assert_close(ours.view.keys.flatten(0, 1)[slots], plain.view.keys.flatten(0, 1)[slots])
    assert torch.equal(ours.view.values.flatten(0, 1)[slots], plain.view.values.flatten(0, 1)[slots])


def test_what_no_kernel_attends_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    gpu.tell.cache_clear()
    case, width = Case(((3, 3),)), gpu.WIDEST_HEAD + 64
    q, k, v = torch.randn(3, HEADS + 2 * KV_HEADS, width).split_with_sizes((HEADS, KV_HEADS, KV_HEADS), 1)
    pages = torch.zeros(400, 16, KV_HEADS, width)
    view = replace(case.view, keys=pages, values=pages.clone())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            gpu.attention(q, k, v, None, None, None, AttentionSpec(0.1), view, case._batch())
    assert [record.getMessage() for record in caplog.records] == [
        "plain torch attends on the GPU, not our kernels, because of heads of 320 numbers, more than 256"
    ]


@pytest.mark.parametrize("onto", [False, True], ids=["new", "onto"])
@pytest.mark.parametrize("sizes", [(8,), (8, 4, 4)], ids=["one", "side by side"])
def test_products_are_written_or_added_where_they_belong(sizes: tuple[int, ...], onto: bool) -> None:
    x, weights = torch.randn(5, 16), [torch.randn(size, 16) for size in sizes]
    biases = [torch.randn(sizes[0]), *[None] * (len(sizes) - 1)]
    base = torch.randn(5, sum(sizes)) if onto else None
    wanted = reference.dense_linear(x, weights, biases, base)
    torch.testing.assert_close(gpu.dense_linear(x, weights, biases, base), wanted)


def test_where_triton_makes_no_kernel_plain_torch_serves_and_the_reason_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr("unillm.models.ops.triton.rows.gated", fail)
    gpu.runs.cache_clear()
    case, gates = Case(((3, 3),)), torch.randn(2, 8)
    operands = (*case._new(), None, None, None, SPECS["plain"], case.view, case._batch())
    try:
        with caplog.at_level(logging.WARNING):
            got = gpu.attention(*operands)
            assert torch.equal(gpu.silu_mul(gates), reference.silu_mul(gates))
    finally:
        gpu.runs.cache_clear()
    assert torch.equal(got, ops.reference_attention.attention(*operands))
    assert [record.getMessage() for record in caplog.records] == [
        "plain torch serves cpu, not our kernels: Triton makes none that runs there: no C compiler"
    ]

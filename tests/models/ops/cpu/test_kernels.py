"""The operations as models call them, with kernels and without: the same numbers, in every dtype of activations."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import AttentionSpec
from unillm.models.ops.cpu import library
from unillm.models.ops.cpu.kernels import Kernels
from unillm.models.quantized import QuantizedTensor
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.ops.cpu.blocks import random_blocks
from unillm.tests.models.ops.test_attention import Case, plain_attention

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
dtypes = pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    opened = Kernels.open(2, exact=True)
    if opened is None:
        pytest.skip("the CPU kernels are not built here")
    return opened


def weight(kind: str, rows: int, columns: int = 256) -> QuantizedTensor:
    return QuantizedTensor(kind, (rows, columns), random_blocks(kind, rows, columns, seed=rows))


def far(found: Tensor, right: Tensor) -> float:
    assert (found.shape, found.dtype) == (right.shape, right.dtype)
    return float((found.float() - right.float()).abs().max() / right.float().abs().max())


@dtypes
@pytest.mark.parametrize("added", [False, True])
def test_several_kinds_side_by_side_with_biases(kernels: Kernels, dtype: torch.dtype, added: bool) -> None:
    torch.manual_seed(0)
    stored = [weight("Q4_K", 40), weight("Q6_K", 7), weight("Q8_0", 33)]
    biases = [torch.randn(40).to(dtype), None, torch.randn(33).to(dtype)]
    x, onto = torch.randn(5, 256).to(dtype), torch.randn(5, 80).to(dtype)
    wanted = ops.linear(x, stored, biases, onto=onto.clone() if added else None)
    packed = [kernels.pack(one) for one in stored]
    assert far(ops.linear(x, packed, biases, kernels, onto if added else None), wanted) < TOLERANCES[dtype]


def test_packed_and_plain_weights_side_by_side(kernels: Kernels) -> None:
    x, plain, packed = torch.randn(3, 256), torch.randn(9, 256), weight("Q4_0", 24)
    wanted = ops.linear(x, [packed, plain], [None, None])
    found = ops.linear(x, [kernels.pack(packed), plain], [None, None], kernels, torch.zeros(3, 33))
    assert far(found, wanted) < 1e-5


def test_activations_may_lie_in_a_wider_matrix(kernels: Kernels) -> None:
    wide, packed = torch.randn(6, 600), weight("Q5_1", 48)
    inside = wide[:, 100:356]
    assert far(ops.linear(inside, [kernels.pack(packed)], [None], kernels), ops.linear(inside, [packed], [None])) < 1e-5
    norm = ops.Norm(torch.rand(256), 1e-5)
    assert far(ops.rms_norm(inside, norm, kernels), ops.rms_norm(inside, norm)) < 1e-5
    assert (
        far(ops.rms_norm(inside, norm, kernels, wide[:, :256]), ops.rms_norm(inside, norm, onto=wide[:, :256])) < 1e-5
    )
    assert far(ops.silu_mul(inside, kernels), ops.silu_mul(inside)) < 1e-5
    assert far(ops.gelu_mul(inside, kernels), ops.gelu_mul(inside)) < 1e-5


@machine.each_set
@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K", "Q8_0"])
def test_a_product_through_a_gate_has_the_bits_of_one_after_the_other(instruction_set: str, kind: str) -> None:
    kernels = Kernels.open(2, instruction_set=instruction_set)
    assert kernels is not None
    gate, up = (kernels.pack(weight(kind, 88, 1024)) for _ in range(2))
    up.data.copy_(up.data.flip(0))
    for rows in (1, 4, 5, 530):
        x = torch.randn(rows, 1024)
        assert kernels.gates(x, (gate, up), (None, None))
        both = kernels.linear(x, (gate, up), (None, None))
        assert ops.silu_linear(x, (gate, up), (None, None), kernels).equal(kernels.silu_mul(both))


@pytest.mark.parametrize("exact", [False, True])
def test_what_no_kernel_takes_through_a_gate_goes_one_after_the_other(exact: bool) -> None:
    kernels = Kernels.open(2, exact=exact)
    if kernels is None:
        pytest.skip("the CPU kernels are not built here")
    x, bias = torch.randn(3, 256), torch.randn(40)
    q4, q6, narrow = (kernels.pack(weight(kind, rows)) for kind, rows in (("Q4_K", 40), ("Q6_K", 40), ("Q4_K", 24)))
    for gate, up, added in ((q4, q6, None), (q4, q4, bias), (q4, torch.randn(40, 256), None)):
        wanted = ops.silu_mul(ops.linear(x, (gate, up), (None, added), kernels))
        assert far(ops.silu_linear(x, (gate, up), (None, added), kernels), wanted) < 1e-5
    assert not kernels.gates(x, (q4, narrow), (None, None))
    assert not kernels.gates(x.half(), (q4, q4), (None, None))
    assert (kernels.gates(x, (q4, q4), (None, None)) is None) is exact


def test_floats_and_sorted_columns_go_one_after_the_other() -> None:
    """A gate's product knows activations in 8 bits alone, and as they come."""
    opened = Kernels.open(2)
    if opened is None:
        pytest.skip("the CPU kernels are not built here")
    x, order = torch.randn(3, 256), torch.randperm(256)
    floats, plain = opened.pack(weight("E4M3", 40)), opened.pack(weight("Q4_0", 40))
    sorted_ = opened.pack(replace(weight("Q4_0", 40), side={"columns": order}))
    for gate, up in ((floats, floats), (sorted_, sorted_), (plain, sorted_)):
        assert not opened.gates(x, (gate, up), (None, None))
        wanted = opened.silu_mul(opened.linear(x, (gate, up), (None, None)))
        assert ops.silu_linear(x, (gate, up), (None, None), opened).equal(wanted)
    assert opened.gates(x, (plain, plain), (None, None))


@pytest.mark.parametrize("q_eps", [1e-6, 1e-2, None], ids=["alike", "unlike", "one alone"])
def test_norms_of_heads_need_not_be_alike(kernels: Kernels, q_eps: float | None) -> None:
    q_norm = None if q_eps is None else ops.Norm(torch.rand(16), q_eps)
    k_norm = ops.Norm(torch.rand(16), 1e-6)
    case, spec = Case(((30, 30),)), AttentionSpec(0.3)
    q, k, v = case._parts(case.tokens[0])
    found = ops.attention(
        q.clone(), k, v, spec=spec, cache=case.view, batch=case._batch(), q_norm=q_norm, k_norm=k_norm, kernels=kernels
    )
    q = q if q_norm is None else ops.rms_norm(q, q_norm)
    wanted = plain_attention(q.double(), ops.rms_norm(k, k_norm).double(), v.double(), spec)
    assert far(found, wanted.float()) < 1e-5


def test_a_package_without_them_or_with_something_else_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "library_file", lambda: None)
    assert Kernels.open(1) is None
    (tmp_path / "text.so").write_text("of another machine")
    monkeypatch.setattr(library, "library_file", lambda: tmp_path / "text.so")
    assert Kernels.open(1) is None

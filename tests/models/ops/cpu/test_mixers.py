"""What recurrent layers compute around their scans: the kernels against plain torch, and that against fp64."""

from collections.abc import Callable
from typing import Final

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unillm.models import ops
from unillm.models.ops.cpu.kernels import Kernels
from unillm.tests.models.ops.cpu import machine

TOKENS: Final = (1, 7, 300)
FLOATS: Final = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def kernels(instruction_set: str) -> Kernels:
    return Kernels(machine.open_context(instruction_set), instruction_set)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def near(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-5 if got.dtype == torch.float32 else 1e-2, atol=1e-6)


@machine.each_set
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_paces(kernels: Kernels, dtype: torch.dtype) -> None:
    for tokens, columns in zip(TOKENS, (37, 16, 3), strict=True):
        steps = (torch.randn(tokens, 2 * columns) * 30).to(dtype)[:, columns:]
        slowness, decay = torch.randn(columns), -torch.rand(columns)
        for pace in (ops.Pace(), ops.Pace(slowness, decay), ops.Pace(slowness, decay, 0.25, 7.5)):
            wide = F.softplus(steps.double() + (0 if pace.slowness is None else slowness))
            wanted = wide.clamp(pace.shortest, pace.longest)
            for each in (None, kernels):
                paces, decays = ops.paces(steps, pace, each)
                near(paces, wanted.float())
                near(decays, (wanted if pace.decay is None else wanted * decay).float())


@machine.each_set
def test_vectors_of_length_1(kernels: Kernels) -> None:
    for tokens, (heads, size) in zip(TOKENS, ((3, 16), (2, 5), (6, 128)), strict=True):
        x = torch.randn(tokens, heads * size + 3)[:, 3:].view(tokens, heads, size)
        x[:, 0] *= 1e-4
        factors = torch.rand(heads)
        wide = x.double()
        wanted = wide / (wide.square().sum(-1, keepdim=True) + 1e-6).sqrt() * factors[:, None]
        for each in (None, kernels):
            near(ops.unit(x, factors, 1e-6, each), wanted.float())


@machine.each_set
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("norms", ["never", "gate first", "norm first", "one weight"])
def test_what_leaves(kernels: Kernels, norms: str, dtype: torch.dtype) -> None:
    for tokens, (groups, heads, head) in zip(TOKENS, ((1, 3, 5), (2, 4, 16), (3, 3, 37)), strict=True):
        columns = heads * head
        x, wide = torch.randn(tokens, heads, head), torch.randn(tokens, 3 * columns)
        gate, skip = wide[:, :columns].to(dtype), ops.Skip(wide[:, columns : 2 * columns], torch.randn(heads))
        weight = torch.randn(columns // groups if norms == "one weight" else columns)
        norm = None if norms == "never" else ops.GatedNorm(weight, 1e-5, groups, gate_first=norms == "gate first")
        for skipped in (None, skip):
            wanted = by_hand(x.double(), gate.double(), skipped, norm, F.silu)
            for each in (None, kernels):
                near(ops.leaving(x, gate, skipped, norm, each), wanted.to(dtype))


def by_hand(
    x: Tensor, gate: Tensor, skip: ops.Skip | None, norm: ops.GatedNorm | None, opening: Callable[[Tensor], Tensor]
) -> Tensor:
    if skip is not None:
        x = x + skip.values.double().view(x.shape) * skip.through.double()[:, None]
    x, opened = x.flatten(1), opening(gate)
    if norm is None:
        return x * opened
    x = x * opened if norm.gate_first else x
    groups = x.view(len(x), norm.groups, -1)
    normed = groups / (groups.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    weight = norm.weight.double().view(-1, groups.shape[2])
    out = (normed * weight).flatten(1)
    return out if norm.gate_first else out * opened

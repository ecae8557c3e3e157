"""Recurrent layers' kernels against plain torch, which `tests/models/ops/test_scans.py` holds to the recurrences."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import Batch, StateTensor, StateView
from unillm.models.ops.cpu.kernels import Kernels
from unillm.tests.models.ops.cpu import machine
from unillm.tests.models.states import COUNTS, batch_of

TOTAL = sum(COUNTS)
CHANNELS = (1, 15, 16, 37, 128)
SIZES = (1, 3, 16, 21, 64)


@pytest.fixture
def kernels(instruction_set: str) -> Kernels:
    return Kernels(machine.open_context(instruction_set), instruction_set)


def agree(kernels: Kernels, shape: Sequence[int], run: Callable[..., Tensor], tolerance: float = 3e-5) -> None:
    """What is read and what is left are the same; what was there before is left alone."""
    outs, states = [], []
    for each in (None, kernels):
        batch, view = batch_of(StateTensor(tuple(shape)))
        if len(shape) == 2 and shape[0] == 3:
            view.tensors["kept"][:, 1].abs_()  # a sum of weights
        untouched = view.tensors["kept"][1 : len(COUNTS)].clone()
        outs.append(run(name="kept", cache=view, batch=batch, kernels=each))
        states.append(view.tensors["kept"][len(COUNTS) :])
        assert torch.equal(view.tensors["kept"][1 : len(COUNTS)], untouched)
    torch.testing.assert_close(outs[1], outs[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(states[1], states[0], rtol=tolerance, atol=tolerance)


@machine.each_set
@pytest.mark.parametrize("reads_before", [False, True], ids=["read after", "read before"])
@pytest.mark.parametrize("forgets", [False, True], ids=["adds", "forgets"])
@pytest.mark.parametrize("paced", [False, True], ids=["one pace", "a pace each"])
def test_a_matrix(kernels: Kernels, paced: bool, forgets: bool, reads_before: bool) -> None:
    for heads, (width, size) in enumerate(zip(CHANNELS, SIZES, strict=True), 1):
        q, k, a = (torch.randn(TOTAL, heads, size) for _ in range(3))
        v = torch.randn(TOTAL, heads, width + 2)[..., 1:-1]  # not where a row begins
        decay = -(torch.randn(TOTAL, heads, size if paced else 1) * 2).exp()
        a = a / a.norm(dim=-1, keepdim=True)
        b = -a * torch.rand(TOTAL, heads, 1) * decay.exp()
        step = ops.Step(q, k, v, decay, a if forgets else None, b if forgets else None, reads_before)
        agree(kernels, (heads, width, size), partial(ops.matrix_scan, step), 2e-4)


@machine.each_set
@pytest.mark.parametrize("replaces", [False, True], ids=["adds", "replaces"])
@pytest.mark.parametrize("tiled", [False, True], ids=["side by side", "tiled"])
@pytest.mark.parametrize("paced", [False, True], ids=["one pace", "a pace each"])
def test_a_matrix_of_heads_that_share_keys(kernels: Kernels, paced: bool, tiled: bool, replaces: bool) -> None:
    for width, size in zip(CHANNELS, SIZES, strict=True):
        both = torch.nn.functional.normalize(torch.randn(TOTAL, 4, size), dim=-1)
        v, taken = torch.randn(TOTAL, 6, width), torch.rand(TOTAL, 6)
        decay = -(torch.randn(TOTAL, 6, size if paced else 1) * 2).exp()
        step = ops.Step(both[:, :2], both[:, 2:], v, decay, taken=taken, replaces=replaces, tiled=tiled)
        agree(kernels, (6, width, size), partial(ops.matrix_scan, step), 2e-4)


@machine.each_set
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_convolution_of_what_was_projected(kernels: Kernels, dtype: torch.dtype) -> None:
    x, weight = torch.randn(TOTAL, 37).to(dtype), torch.randn(4, 37)
    agree(kernels, (3, 37), partial(ops.causal_conv, x, weight, None))


@machine.each_set
def test_numbers_of_each_channel(kernels: Kernels) -> None:
    for channels, size in zip(CHANNELS, SIZES, strict=True):
        x, steps = torch.randn(TOTAL, channels + 3)[:, 3:], torch.rand(TOTAL, channels) * 4
        b, c = torch.randn(TOTAL, 2 * size).chunk(2, 1)
        decay = -torch.rand(channels, size) * 16
        agree(kernels, (channels, size), partial(ops.selective_scan, x, steps, decay, b, c))


@machine.each_set
def test_a_convolution(kernels: Kernels) -> None:
    for channels, taps, silu, biased in product(CHANNELS, (2, 3, 4, 9, 64), (False, True), (False, True)):
        x, weight = torch.randn(TOTAL, 2 * channels)[:, channels:], torch.randn(taps, channels)
        bias = torch.randn(channels) if biased else None
        agree(kernels, (taps - 1, channels), partial(ops.causal_conv, x, weight, bias, silu=silu))


@machine.each_set
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_was_before(kernels: Kernels, dtype: torch.dtype) -> None:
    for channels in CHANNELS:
        x = torch.randn(TOTAL, 2 * channels).to(dtype)[:, :channels]
        agree(kernels, (channels,), partial(ops.previous, x), 0.0)


@machine.each_set
def test_a_number_of_each_channel(kernels: Kernels) -> None:
    for channels in CHANNELS:
        factors, terms = torch.rand(TOTAL, channels), torch.randn(TOTAL, channels)
        agree(kernels, (channels,), partial(ops.gated_scan, factors, terms))


@machine.each_set
def test_a_mean_of_all_so_far(kernels: Kernels) -> None:
    """Weights far apart: none overflows."""
    for channels in CHANNELS:
        k, v = torch.randn(TOTAL, channels) * 60 - 90, torch.randn(TOTAL, channels)
        decay, bonus = -torch.rand(channels) * 3, torch.randn(channels)
        agree(kernels, (3, channels), partial(ops.weighted_mean, k, v, decay, bonus), 1e-4)


@machine.each_set
@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_text_is_shared_out_and_comes_out_the_same(instruction_set: str, threads: int) -> None:
    found = []
    for count in (1, threads):
        kernels = Kernels(machine.open_context(instruction_set, count), instruction_set)
        batch, view = long_text((8, 32, 48), 300)
        torch.manual_seed(1)
        q, k, v = (torch.randn(300, 8, size) for size in (48, 48, 32))
        step = ops.Step(q, k, v, -torch.rand(300, 8, 1))
        found.append(ops.matrix_scan(step, name="kept", cache=view, batch=batch, kernels=kernels))
    assert torch.equal(*found)


def long_text(shape: tuple[int, ...], tokens: int) -> tuple[Batch, StateView]:
    row = torch.zeros(1, dtype=torch.int64)
    view = StateView({"kept": torch.zeros(1, *shape)}, row, row, torch.ones(1, dtype=torch.bool))
    starts, ids = torch.tensor([0, tokens], dtype=torch.int32), torch.zeros(tokens, dtype=torch.int64)
    return Batch(ids, ids, ids[:0], (tokens,), (tokens,), starts, starts[1:], [view]), view

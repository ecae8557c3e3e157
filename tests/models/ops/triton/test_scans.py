"""Scans of recurrent layers as kernels, against plain torch: sequences that begin and that go on, of any length."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Batch, StateTensor, StateView
from unillm.models.ops import gpu, reference_matrix, reference_scan
from unillm.models.ops.reference_matrix import Step
from unillm.tests.models.states import CHANNELS, COUNTS, SIZE, TAPS, batch_of

HEADS, WIDTH, TOTAL = 3, 5, sum(COUNTS)
close = torch.testing.assert_close


def both(plain: Callable[..., Tensor], state: StateTensor, *operands: Any) -> tuple[Tensor, Tensor]:
    """What the kernel and plain torch make of the same, states included."""
    outs = []
    for run in (partial(gpu.scan, plain), plain):
        batch, view = batch_of(state)
        view.tensors["kept"][1 : len(COUNTS)].abs_()  # sums of weights are above 0
        out = run(*operands, "kept", view, batch)
        assert view.tensors["kept"][1 : len(COUNTS)].isfinite().all()  # where states came from is as it was
        outs.append(torch.cat((out.flatten(), view.tensors["kept"][len(COUNTS) :].flatten())))
    return outs[0], outs[1]


def step_of(paces: int, *, forgets: bool, reads_before: bool) -> Step:
    torch.manual_seed(5)
    q, k, a = (torch.randn(TOTAL, HEADS, SIZE) for _ in range(3))
    v, decay = torch.randn(TOTAL, HEADS, WIDTH), -(torch.randn(TOTAL, HEADS, paces) * 2).exp()
    a = a / a.norm(dim=-1, keepdim=True)
    b = -a * torch.rand(TOTAL, HEADS, 1) * decay.exp()
    return Step(q, k, v, decay, a if forgets else None, b if forgets else None, reads_before)


@pytest.mark.parametrize(
    ("paces", "forgets", "reads_before"),
    [
        (1, False, False),
        (SIZE, True, True),
        *[
            pytest.param(*one, marks=pytest.mark.slow)
            for one in product((1, SIZE), (False, True), (False, True))
            if one not in ((1, False, False), (SIZE, True, True))
        ],
    ],
)
def test_a_matrix_decays_forgets_and_remembers(paces: int, forgets: bool, reads_before: bool) -> None:
    step = step_of(paces, forgets=forgets, reads_before=reads_before)
    close(*both(reference_matrix.matrix_scan, StateTensor((HEADS, WIDTH, SIZE)), step), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_heads_that_share_a_key_and_numbers_that_lie_apart() -> None:
    step = step_of(1, forgets=False, reads_before=False)
    wide = torch.randn(TOTAL, 2, SIZE + 3)
    step = replace(step, k=wide[:, :1, 2 : SIZE + 2].expand(-1, HEADS, -1), q=wide[:, 1:, :SIZE].expand(-1, HEADS, -1))
    close(*both(reference_matrix.matrix_scan, StateTensor((HEADS, WIDTH, SIZE)), step), rtol=1e-4, atol=1e-4)


def test_a_few_numbers_for_each_channel() -> None:
    wide = torch.randn(TOTAL, CHANNELS + 2 * SIZE)
    x, b, c = wide.split_with_sizes((CHANNELS, SIZE, SIZE), 1)
    steps, decay = torch.rand(TOTAL, CHANNELS), -torch.rand(CHANNELS, SIZE) * 4
    close(*both(reference_scan.selective_scan, StateTensor((CHANNELS, SIZE)), x, steps, decay, b, c))


def test_a_number_for_each_channel_fades_and_grows() -> None:
    wide = torch.rand(TOTAL, 2 * CHANNELS)
    close(*both(reference_scan.gated_scan, StateTensor((CHANNELS,)), wide[:, :CHANNELS], wide[:, CHANNELS:]))


def test_a_weighted_mean_of_all_so_far() -> None:
    k, v = torch.randn(TOTAL, CHANNELS) * 60 - 90, torch.randn(TOTAL, CHANNELS)
    decay, bonus = -torch.rand(CHANNELS) * 3, torch.randn(CHANNELS)
    got, wanted = both(reference_scan.weighted_mean, StateTensor((3, CHANNELS)), k, v, decay, bonus)
    close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("taps", "silu"), [(2, False), (TAPS, True)])
def test_a_short_convolution(taps: int, silu: bool) -> None:
    wide, weight = torch.randn(TOTAL, CHANNELS + 5), torch.randn(taps, CHANNELS)
    bias = torch.randn(CHANNELS) if silu else None
    state = StateTensor((taps - 1, CHANNELS))
    close(*both(reference_scan.causal_conv, state, wide[:, 3 : CHANNELS + 3], weight, bias, silu))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_was_before(dtype: torch.dtype) -> None:
    x = torch.randn(TOTAL, CHANNELS).to(dtype)
    once = torch.finfo(dtype).eps  # the interpreter cuts a state off that bf16 rounds
    close(*both(reference_scan.previous, StateTensor((CHANNELS,)), x), rtol=once, atol=0)


def chunked(view: StateView, batch: Batch, count: int, done: int) -> tuple[StateView, Batch]:
    """The third sequence alone, `count` tokens of it after `done`: where its state is, the next one goes."""
    row = view.sources[2:3] if done == 0 else view.targets[2:3]
    one = StateView(view.tensors, row, view.targets[2:3], view.fresh[2:3] & (done == 0))
    starts, lengths = torch.tensor([0, count], dtype=torch.int32), batch.lengths[2:3]
    return one, replace(batch, queries=(count,), contexts=(COUNTS[2],), starts=starts, lengths=lengths, cache=[one])


@pytest.mark.parametrize(
    "sizes", [(33, 1, 36), *[pytest.param(one, marks=pytest.mark.slow) for one in ((70,), (1, 69))]]
)
def test_a_sequence_comes_out_the_same_bit_for_bit_in_whatever_chunks(sizes: tuple[int, ...]) -> None:
    """Alone, too, and over the row that it came from."""
    step = step_of(SIZE, forgets=True, reads_before=False)
    batch, view = batch_of(StateTensor((HEADS, WIDTH, SIZE)))
    x, weight = torch.randn(TOTAL, CHANNELS), torch.randn(TAPS, CHANNELS)
    wanted = gpu.scan(reference_matrix.matrix_scan, step, "kept", view, batch)
    after, first = view.tensors["kept"][view.targets[2]].clone(), sum(COUNTS[:2])
    conv_batch, conv_view = batch_of(StateTensor((TAPS - 1, CHANNELS)))
    mixed = gpu.scan(reference_scan.causal_conv, x, weight, None, True, "kept", conv_view, conv_batch)
    _, again = batch_of(StateTensor((HEADS, WIDTH, SIZE)))
    _, conv_again = batch_of(StateTensor((TAPS - 1, CHANNELS)))
    done = 0
    for count in sizes:
        tokens = slice(first + done, first + done + count)
        one, part = chunked(again, batch, count, done)
        got = gpu.scan(reference_matrix.matrix_scan, step.of(tokens), "kept", one, part)
        assert torch.equal(got, wanted[tokens])
        one, part = chunked(conv_again, batch, count, done)
        assert torch.equal(
            gpu.scan(reference_scan.causal_conv, x[tokens], weight, None, True, "kept", one, part), mixed[tokens]
        )
        done += count
    assert torch.equal(again.tensors["kept"][again.targets[2]], after)

"""Scans of recurrent layers against the recurrences that they are, token by token in fp64."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import StateTensor, StateView
from unillm.tests.models.states import CHANNELS, COUNTS, SIZE, batch_of, before

HEADS, WIDTH = 3, 5
TOTAL = sum(COUNTS)
close = torch.testing.assert_close


def sequences(view: StateView) -> Iterator[tuple[range, Tensor]]:
    """The tokens of each, and the state after them."""
    token = 0
    for row, count in enumerate(COUNTS):
        yield range(token, token + count), view.tensors["kept"][row + len(COUNTS)].double()
        token += count


@pytest.mark.parametrize("reads_before", [False, True], ids=["read after", "read before"])
@pytest.mark.parametrize("forgets", [False, True], ids=["adds", "forgets"])
@pytest.mark.parametrize("paces", [1, SIZE], ids=["one pace", "a pace each"])
def test_a_matrix_decays_forgets_and_remembers(paces: int, forgets: bool, reads_before: bool) -> None:
    batch, view = batch_of(StateTensor((HEADS, WIDTH, SIZE)))
    q, k, a = (torch.randn(TOTAL, HEADS, SIZE) for _ in range(3))
    v, decay = torch.randn(TOTAL, HEADS, WIDTH), -(torch.randn(TOTAL, HEADS, paces) * 2).exp()
    a = a / a.norm(dim=-1, keepdim=True)
    b = -a * torch.rand(TOTAL, HEADS, 1) * decay.exp()
    step = ops.Step(q, k, v, decay, a if forgets else None, b if forgets else None, reads_before)
    states = [before(view, row) for row in range(len(COUNTS))]
    out = ops.matrix_scan(step, name="kept", cache=view, batch=batch)
    for state, (tokens, after) in zip(states, sequences(view), strict=True):
        for t in tokens:
            earlier = state
            forgotten = (state @ a[t, ..., None].double()) * b[t, :, None] if forgets else 0
            state = state * decay[t, :, None].double().exp() + forgotten + v[t, ..., None].double() * k[t, :, None]
            read = earlier if reads_before else state
            close(out[t].double(), (read @ q[t, ..., None].double())[..., 0], rtol=1e-4, atol=1e-4)
        close(after, state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiled", [False, True], ids=["side by side", "tiled"])
def test_what_a_shared_key_finds_gives_way_to_the_value(tiled: bool) -> None:
    """Of heads 0 to 5, keys 0 to 2 serve two each."""
    batch, view = batch_of(StateTensor((2 * HEADS, WIDTH, SIZE)))
    q, k = (torch.nn.functional.normalize(torch.randn(TOTAL, HEADS, SIZE), dim=-1) for _ in range(2))
    v, taken = torch.randn(TOTAL, 2 * HEADS, WIDTH), torch.rand(TOTAL, 2 * HEADS)
    decay = -(torch.randn(TOTAL, 2 * HEADS, 1) * 2).exp()
    states = [before(view, row) for row in range(len(COUNTS))]
    step = ops.Step(q, k, v, decay, taken=taken, replaces=True, tiled=tiled)
    out = ops.matrix_scan(step, name="kept", cache=view, batch=batch)
    serving = [0, 1, 2, 0, 1, 2] if tiled else [0, 0, 1, 1, 2, 2]
    queries, keys = q[:, serving].double(), k[:, serving].double()
    for state, (tokens, after) in zip(states, sequences(view), strict=True):
        for t in tokens:
            state = state * decay[t, :, None].double().exp()
            found = (state @ keys[t, ..., None])[..., 0]
            state = state + ((v[t] - found) * taken[t, :, None])[..., None] * keys[t, :, None]
            close(out[t].double(), (state @ queries[t, ..., None])[..., 0], rtol=1e-4, atol=1e-4)
        close(after, state, rtol=1e-4, atol=1e-4)


def test_a_number_for_each_channel_fades_and_grows() -> None:
    batch, view = batch_of(StateTensor((CHANNELS,)))
    factors, terms = torch.rand(TOTAL, CHANNELS), torch.randn(TOTAL, CHANNELS)
    states = [before(view, row) for row in range(len(COUNTS))]
    out = ops.gated_scan(factors, terms, name="kept", cache=view, batch=batch)
    for state, (tokens, after) in zip(states, sequences(view), strict=True):
        for t in tokens:
            state = factors[t].double() * state + terms[t]
            close(out[t].double(), state, rtol=1e-5, atol=1e-5)
        close(after, state, rtol=1e-5, atol=1e-5)


def test_a_weighted_mean_of_all_so_far() -> None:
    """Weights far apart: none overflows, and a sequence that begins with faint ones is still their mean."""
    batch, view = batch_of(StateTensor((3, CHANNELS)))
    view.tensors["kept"][1 : len(COUNTS), 1].abs_()
    k, v = torch.randn(TOTAL, CHANNELS) * 60 - 90, torch.randn(TOTAL, CHANNELS)
    decay, bonus = -torch.rand(CHANNELS) * 3, torch.randn(CHANNELS)
    states = [before(view, row) for row in range(len(COUNTS))]
    out = ops.weighted_mean(k, v, decay, bonus, name="kept", cache=view, batch=batch)
    for row, (tokens, after) in enumerate(sequences(view)):
        total, weights = (states[row][i] * states[row][2].exp() for i in range(2))
        for t in tokens:
            now = (k[t] + bonus).double().exp()
            close(out[t].double(), (total + now * v[t]) / (weights + now), rtol=1e-4, atol=1e-4)
            total = total * decay.double().exp() + k[t].double().exp() * v[t]
            weights = weights * decay.double().exp() + k[t].double().exp()
        close(after[0] / after[1], total / weights, rtol=1e-4, atol=1e-4)
        close(after[1].log() + after[2], weights.log(), rtol=1e-4, atol=1e-4)


def test_what_was_before() -> None:
    batch, view = batch_of(StateTensor((CHANNELS,)))
    x = torch.randn(TOTAL, CHANNELS)
    states = [before(view, row).float() for row in range(len(COUNTS))]
    out = ops.previous(x, name="kept", cache=view, batch=batch)
    for state, (tokens, after) in zip(states, sequences(view), strict=True):
        assert torch.equal(out[tokens.start], state)
        assert torch.equal(out[tokens.start + 1 : tokens.stop], x[tokens.start : tokens.stop - 1])
        assert torch.equal(after.float(), x[tokens.stop - 1])

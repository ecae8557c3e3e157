# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"
# pyright: reportArgumentType=false, reportAssignmentType=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
"""The kernels of `reference_scan.py`: what recurrent layers compute whose state is a number for each channel, or a few.

A program takes some channels of one sequence, whether that brings one token or many, from the row that its state is in
to the row that it goes to. Tokens are taken in their order, so that a sequence comes out the same bit for bit in
whatever chunks it comes; what the next token brings is read while the one before is computed. All is fp32.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...contract import Batch, StateView
from ..operands import in_rows
from .later import compiled_later

_NEVER: tl.constexpr = tl.constexpr(-1e38)  # the logarithm of the weight of what has not been
_CHANNELS: Final = 128  # of one program, where each has one number
_NUMBERS: Final = 512  # of one program, where each channel has several
_TOKENS: Final = 16  # at once, where none waits for the one before


@triton.jit
def span(starts, sources, targets, fresh, kept, step):
    """This program's sequence: its first token, where the last one ends, its state before and after, 1 if it begins."""
    sequence = tl.program_id(0)
    start = tl.load(starts + sequence).to(tl.int64)
    stop = tl.load(starts + sequence + 1).to(tl.int64)
    source = kept + tl.load(sources + sequence) * step
    target = kept + tl.load(targets + sequence) * step
    return start, stop, source, target, tl.load(fresh + sequence)


@triton.jit
def settle():
    """What comes behind it may be written where the state was read: all warps have read their part."""
    tl.debug_barrier()


@triton.jit
def _at(x, token, step, offsets, mask):
    """Numbers of one token."""
    return tl.load(x + token * step + offsets, mask=mask, other=0.0).to(tl.float32)


@compiled_later
@triton.jit
def _selective_kernel(
    starts, sources, targets, fresh, kept, kept_step, x, steps, decay, b, c, out,
    x_step, steps_step, b_step, c_step, out_step, channels,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    here = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    numbers = tl.arange(0, WIDTH)
    real, there = here < channels, numbers < SIZE
    both = real[:, None] & there[None, :]
    where = here[:, None] * SIZE + numbers[None, :]
    pace = tl.load(decay + where, mask=both, other=0.0)
    state = tl.load(source + where, mask=both & (begins == 0), other=0.0)
    now_x, now_step = _at(x, start, x_step, here, real), _at(steps, start, steps_step, here, real)
    now_b, now_c = _at(b, start, b_step, numbers, there), _at(c, start, c_step, numbers, there)
    for done in range(stop - start):
        token = start + done
        more = token + 1 < stop
        next_x, next_step = (
            _at(x, token + 1, x_step, here, real & more),
            _at(steps, token + 1, steps_step, here, real & more),
        )
        next_b, next_c = (
            _at(b, token + 1, b_step, numbers, there & more),
            _at(c, token + 1, c_step, numbers, there & more),
        )
        state = tl.exp(now_step[:, None] * pace) * state + (now_step * now_x)[:, None] * now_b[None, :]
        tl.store(out + token * out_step + here, tl.sum(state * now_c[None, :], 1), mask=real)
        now_x, now_step, now_b, now_c = next_x, next_step, next_b, next_c
    settle()
    tl.store(target + where, state, mask=both)


@compiled_later
@triton.jit
def _gated_kernel(
    starts, sources, targets, fresh, kept, kept_step, factors, terms, out, factors_step, terms_step, out_step, channels,
    BLOCK: tl.constexpr,
):  # fmt: skip
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    here = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = here < channels
    state = tl.load(source + here, mask=real & (begins == 0), other=0.0)
    factor, term = _at(factors, start, factors_step, here, real), _at(terms, start, terms_step, here, real)
    for done in range(stop - start):
        token = start + done
        ahead = real & (token + 1 < stop)
        next_factor = _at(factors, token + 1, factors_step, here, ahead)
        next_term = _at(terms, token + 1, terms_step, here, ahead)
        state = factor * state + term
        tl.store(out + token * out_step + here, state, mask=real)
        factor, term = next_factor, next_term
    settle()
    tl.store(target + here, state, mask=real)


@compiled_later
@triton.jit
def _mean_kernel(
    starts, sources, targets, fresh, kept, kept_step, k, v, decay, bonus, out, k_step, v_step, out_step, channels,
    BLOCK: tl.constexpr,
):  # fmt: skip
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    here = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = here < channels
    known = real & (begins == 0)
    total = tl.load(source + here, mask=known, other=0.0)
    weight = tl.load(source + channels + here, mask=known, other=0.0)
    log = tl.load(source + 2 * channels + here, mask=known, other=_NEVER)
    pace, extra = tl.load(decay + here, mask=real, other=0.0), tl.load(bonus + here, mask=real, other=0.0)
    key, value = _at(k, start, k_step, here, real), _at(v, start, v_step, here, real)
    for done in range(stop - start):
        token = start + done
        ahead = real & (token + 1 < stop)
        next_key, next_value = _at(k, token + 1, k_step, here, ahead), _at(v, token + 1, v_step, here, ahead)
        larger = tl.maximum(log, key + extra)
        older, newer = tl.exp(log - larger), tl.exp(key + extra - larger)
        mean = (total * older + value * newer) / (weight * older + newer)
        tl.store(out + token * out_step + here, mean, mask=real)
        larger = tl.maximum(log + pace, key)
        older, newer = tl.exp(log + pace - larger), tl.exp(key - larger)
        total, weight, log = total * older + value * newer, weight * older + newer, larger
        key, value = next_key, next_value
    settle()
    tl.store(target + here, total, mask=real)
    tl.store(target + channels + here, weight, mask=real)
    tl.store(target + 2 * channels + here, log, mask=real)


@triton.jit
def _input(x, source, start, places, here, real, begins, x_step, channels, TAPS: tl.constexpr):
    """What a channel was at these places, which may lie before the sequence's new tokens: [places, channels]."""
    fresh = places >= start
    new = tl.load(x + places[:, None] * x_step + here[None, :], mask=fresh[:, None] & real[None, :], other=0.0).to(
        tl.float32
    )
    kept = (TAPS - 1) + places - start
    old = tl.load(
        source + kept[:, None] * channels + here[None, :],
        mask=((places < start) & (kept >= 0))[:, None] & real[None, :] & (begins == 0),
        other=0.0,
    )
    return new + old  # one of them is 0


@compiled_later
@triton.jit
def _conv_kernel(
    starts, sources, targets, fresh, kept, kept_step, x, weight, bias, out, x_step, out_step, channels,
    TAPS: tl.constexpr, TAPS_WIDTH: tl.constexpr, BIASED: tl.constexpr, SILU: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    here = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = here < channels
    for done in range(0, stop - start, TILE):
        tokens = start + done + tl.arange(0, TILE)
        mixed = tl.zeros([TILE, BLOCK], tl.float32)
        for tap in tl.static_range(TAPS):
            places = tl.minimum(tokens, stop - 1) - (TAPS - 1 - tap)
            seen = _input(x, source, start, places, here, real, begins, x_step, channels, TAPS)
            mixed += seen * tl.load(weight + tap * channels + here, mask=real, other=0.0).to(tl.float32)[None, :]
        if BIASED:
            mixed += tl.load(bias + here, mask=real, other=0.0).to(tl.float32)[None, :]
        if SILU:
            mixed = mixed / (1 + tl.exp(-mixed))
        where = out + tokens[:, None] * out_step + here[None, :]
        tl.store(where, mixed, mask=(tokens < stop)[:, None] & real[None, :])
    taps = tl.arange(0, TAPS_WIDTH)
    places = tl.minimum(stop - (TAPS - 1) + taps, stop - 1)
    left = _input(x, source, start, places, here, real, begins, x_step, channels, TAPS)
    settle()
    tl.store(target + taps[:, None] * channels + here[None, :], left, mask=(taps < TAPS - 1)[:, None] & real[None, :])


@compiled_later
@triton.jit
def _previous_kernel(
    starts, sources, targets, fresh, kept, kept_step, x, out, x_step, out_step, channels,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    start, stop, source, target, begins = span(starts, sources, targets, fresh, kept, kept_step)
    if start == stop:
        return
    here = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = here < channels
    before = tl.load(source + here, mask=real & (begins == 0), other=0.0)
    for done in range(0, stop - start, TILE):
        tokens = start + done + tl.arange(0, TILE)
        inside = (tokens < stop)[:, None] & real[None, :]
        behind = x + (tokens - 1)[:, None] * x_step + here[None, :]
        seen = tl.load(behind, mask=inside & (tokens > start)[:, None], other=0.0).to(tl.float32)
        seen = tl.where((tokens == start)[:, None], before[None, :], seen)
        where = out + tokens[:, None] * out_step + here[None, :]
        tl.store(where, seen.to(out.dtype.element_ty), mask=inside)
    settle()
    tl.store(target + here, _at(x, stop - 1, x_step, here, real), mask=real)


def selective_scan(
    x: Tensor, steps: Tensor, decay: Tensor, b: Tensor, c: Tensor, name: str, cache: StateView, batch: Batch
) -> Tensor:
    """As `reference_scan.selective_scan`."""
    x, steps, b, c = (in_rows(part) for part in (x, steps, b, c))
    channels, size = decay.shape
    width = triton.next_power_of_2(size)
    block = max(1, min(_NUMBERS // width, triton.next_power_of_2(channels)))
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    _selective_kernel[_grid(batch, channels, block)](
        *states_of(name, cache, batch), x, steps, decay.contiguous(), b, c, out,
        *(part.stride(0) for part in (x, steps, b, c, out)), channels,
        SIZE=size, WIDTH=width, BLOCK=block, num_warps=2,
    )  # fmt: skip
    return out


def gated_scan(factors: Tensor, terms: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
    """As `reference_scan.gated_scan`."""
    factors, terms = in_rows(factors), in_rows(terms)
    out, channels = torch.empty(terms.shape, dtype=torch.float32, device=terms.device), terms.shape[1]
    _gated_kernel[_grid(batch, channels, _CHANNELS)](
        *states_of(name, cache, batch), factors, terms, out,
        *(part.stride(0) for part in (factors, terms, out)), channels, BLOCK=_CHANNELS, num_warps=1,
    )  # fmt: skip
    return out


def weighted_mean(
    k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, name: str, cache: StateView, batch: Batch
) -> Tensor:
    """As `reference_scan.weighted_mean`."""
    k, v = in_rows(k), in_rows(v)
    out, channels = torch.empty(k.shape, dtype=torch.float32, device=k.device), k.shape[1]
    _mean_kernel[_grid(batch, channels, _CHANNELS)](
        *states_of(name, cache, batch), k, v, decay.contiguous(), bonus.contiguous(), out,
        *(part.stride(0) for part in (k, v, out)), channels, BLOCK=_CHANNELS, num_warps=1,
    )  # fmt: skip
    return out


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, name: str, cache: StateView, batch: Batch
) -> Tensor:
    """As `reference_scan.causal_conv`."""
    x, weight = in_rows(x), weight.contiguous()
    taps, channels = weight.shape
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    _conv_kernel[_grid(batch, channels, _CHANNELS)](
        *states_of(name, cache, batch), x, weight, weight if bias is None else bias.contiguous(), out,
        x.stride(0), out.stride(0), channels,
        TAPS=taps, TAPS_WIDTH=triton.next_power_of_2(max(taps - 1, 1)), BIASED=bias is not None, SILU=silu,
        TILE=_TOKENS, BLOCK=_CHANNELS, num_warps=4,
    )  # fmt: skip
    return out


def previous(x: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
    """As `reference_scan.previous`."""
    x = in_rows(x)
    out, channels = torch.empty(x.shape, dtype=x.dtype, device=x.device), x.shape[1]
    _previous_kernel[_grid(batch, channels, _CHANNELS)](
        *states_of(name, cache, batch), x, out, x.stride(0), out.stride(0), channels,
        TILE=_TOKENS, BLOCK=_CHANNELS, num_warps=4,
    )  # fmt: skip
    return out


def states_of(name: str, cache: StateView, batch: Batch) -> tuple[Tensor | int, ...]:
    """What every scan is told of the sequences: their tokens, and where their states are and go to."""
    kept = cache.tensors[name]
    return batch.starts, cache.sources, cache.targets, cache.fresh.view(torch.uint8), kept, kept.stride(0)


def _grid(batch: Batch, channels: int, block: int) -> tuple[int, int]:
    return len(batch.queries), -(-channels // block)

"""What recurrent layers compute beside products, in plain torch: the input before, a short causal convolution, and
scans whose state is a number for each channel, or a few.

All work over the flat tokens of many sequences and keep what they must remember in a state view. Neighbours of one
token each take a step together, others are scanned alone, by blocks: within a block in a logarithmic number of steps,
since state after state is x -> a x + b, and such maps compose. No factor is larger than 1, so nothing overflows.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import Batch, StateView
from .reference_attention import runs_of

_BLOCK: Final = 32
_NEVER: Final = -1e38  # the logarithm of the weight of what has not been


def previous(x: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
    """What x [tokens, channels] was for the token before; 0 for a sequence's first. The state `name` [channels] is the
    last one.
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        fresh, past = x[tokens], cache.read(name, sequences).to(x.dtype)
        one_each = len(fresh) == len(past)
        parts.append(past if one_each else torch.cat((past, fresh[:-1])))
        cache.write(name, sequences, fresh if one_each else fresh[-1:])
    return joined(parts)


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu: bool,
    name: str,
    cache: StateView,
    batch: Batch,
) -> Tensor:
    """Each channel of x [tokens, channels] over its last inputs: weight [taps, channels], oldest first; silu after it.

    The state `name` [taps - 1, channels] holds the inputs before, oldest first.
    """
    parts, x = [], x.float()
    for sequences, tokens in runs_of(batch.queries):
        past, fresh = cache.read(name, sequences), x[tokens]
        one_each = len(fresh) == len(past)
        inputs = torch.cat((past, fresh[:, None] if one_each else fresh[None]), 1)  # [sequences, inputs, channels]
        cache.write(name, sequences, inputs[:, inputs.shape[1] - past.shape[1] :])
        seen = inputs.unfold(1, len(weight), 1)  # [sequences, tokens, channels, taps]
        mixed = (seen * weight.T).sum(-1)
        parts.append(mixed[:, 0] if one_each else mixed[0])
    out = joined(parts)
    out = out if bias is None else out + bias
    return F.silu(out) if silu else out


def gated_scan(factors: Tensor, terms: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
    """state = factor * state + term for each token in turn: the states [tokens, channels], fp32 as all here.

    Factors are in 0..1; the state `name` is [channels].
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        state = cache.read(name, sequences)
        if len(factors[tokens]) == len(state):
            parts.append(factors[tokens] * state + terms[tokens])
        else:
            parts.append(_scan(factors[tokens], terms[tokens], state[0]))
        cache.write(name, sequences, parts[-1][-len(state) :])
    return joined(parts)


def selective_scan(
    x: Tensor, steps: Tensor, decay: Tensor, b: Tensor, c: Tensor, name: str, cache: StateView, batch: Batch
) -> Tensor:
    """state = exp(step * decay) * state + step * b * x, and out = state . c, for each token in turn.

    x and steps [tokens, channels], decay [channels, size] below 0, b and c [tokens, size]; the state `name` is
    [channels, size]. All in fp32; so is the result [tokens, channels].
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        state = cache.read(name, sequences)
        factors = torch.exp(steps[tokens, :, None] * decay)  # [tokens, channels, size]
        terms = (steps[tokens] * x[tokens])[:, :, None] * b[tokens, None]
        if len(factors) == len(state):
            states = factors * state + terms
            cache.write(name, sequences, states)
        else:
            states = _scan(factors, terms, state[0])
            cache.write(name, sequences, states[-1:])
        parts.append((states * c[tokens, None]).sum(-1))
    return joined(parts)


def _scan(factors: Tensor, terms: Tensor, state: Tensor) -> Tensor:
    """The state after each of some tokens: [tokens, channels, size]."""
    blocks = []
    for a, b in zip(torch.split(factors, _BLOCK), torch.split(terms, _BLOCK), strict=True):
        reach = 1
        while reach < len(a):
            b = torch.cat((b[:reach], b[reach:] + a[reach:] * b[:-reach]))
            a = torch.cat((a[:reach], a[reach:] * a[:-reach]))
            reach *= 2
        blocks.append(a * state + b)
        state = blocks[-1][-1]
    return torch.cat(blocks)


def weighted_mean(
    k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, name: str, cache: StateView, batch: Batch
) -> Tensor:
    """The mean of v [tokens, channels] over all tokens so far, each weighed by exp(k), the current one's by
    exp(k + bonus); `decay` [channels] below 0 is added to the logarithms of all weights with each token. In fp32.

    The state `name` [3, channels] is the weighted sum, the sum of weights, and the logarithm that both are times.
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        state = cache.read(name, sequences)
        state[:, 2].masked_fill_(cache.fresh[sequences, None], _NEVER)
        keys, values = k[tokens], v[tokens]
        if len(keys) == len(state):
            before = state
            cache.write(name, sequences, _together(before, _single(keys, values), decay))
        else:
            states = _mean_scan(keys, values, decay, state)
            before = torch.cat((state, states[:-1]))
            cache.write(name, sequences, states[-1:])
        seen = _together(before, _single(keys + bonus, values), torch.zeros_like(decay))
        parts.append(seen[:, 0] / seen[:, 1])
    return joined(parts)


def _single(k: Tensor, v: Tensor) -> Tensor:
    """Weighted sum, weight and logarithm of tokens alone: [tokens, 3, channels]."""
    return torch.stack((v, torch.ones_like(v), k), 1)


def _together(early: Tensor, late: Tensor, aged: Tensor) -> Tensor:
    """Both at once, after `aged` was added to the logarithm of the earlier."""
    older = early[:, 2] + aged
    log = torch.maximum(older, late[:, 2])
    sums = early[:, :2] * (older - log).exp()[:, None] + late[:, :2] * (late[:, 2] - log).exp()[:, None]
    return torch.cat((sums, log[:, None]), 1)


def _mean_scan(k: Tensor, v: Tensor, decay: Tensor, state: Tensor) -> Tensor:
    """The state after each of some tokens: [tokens, 3, channels]."""
    blocks = []
    for part in torch.split(_single(k, v), _BLOCK):
        reach = 1
        while reach < len(part):
            part = torch.cat((part[:reach], _together(part[:-reach], part[reach:], reach * decay)))
            reach *= 2
        ages = torch.arange(1, len(part) + 1, device=k.device)[:, None] * decay
        blocks.append(_together(state, part, ages))
        state = blocks[-1][-1:]
    return torch.cat(blocks)


def joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)

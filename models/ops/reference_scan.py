"""What recurrent layers compute beside products, in plain torch: a short causal convolution and a selective scan.

Both work over the flat tokens of many sequences and keep what they must remember in a state view. Neighbours of one
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


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, name: str, cache: StateView, batch: Batch) -> Tensor:
    """Each channel of x [tokens, channels] over its last inputs: weight [channels, taps], oldest first; silu after it.

    The state `name` [channels, taps - 1] holds the inputs before, oldest first.
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        past = cache.read(name, sequences).to(x.dtype)
        fresh = x[tokens]
        one_each = len(fresh) == len(past)
        inputs = torch.cat(
            (past, fresh[:, :, None] if one_each else fresh.T[None]), -1
        )  # [sequences, channels, inputs]
        cache.write(name, sequences, inputs[:, :, inputs.shape[2] - past.shape[2] :])
        seen = inputs.unfold(2, weight.shape[1], 1)  # [sequences, channels, tokens, taps]
        mixed = (seen * weight[:, None]).sum(-1)
        parts.append(mixed[:, :, 0] if one_each else mixed[0].T)
    out = _joined(parts)
    return F.silu(out if bias is None else out + bias)


def selective_scan(
    x: Tensor, steps: Tensor, decay: Tensor, b: Tensor, c: Tensor, *, name: str, cache: StateView, batch: Batch
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
    return _joined(parts)


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


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)

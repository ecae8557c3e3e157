"""The operations of recurrent layers with a choice of backend, beside those of `ops` itself.

All work over the flat tokens of many sequences, read what they must remember from a state view and leave it there.
"""

from typing import Any, Final

import torch
from torch import Tensor

from ..contract import Batch, StateView
from . import gpu, reference_matrix, reference_scan
from .cpu.kernels import Kernels
from .reference_matrix import Step
from .table import COMPILED, Entry, Table, place_of

_HERE: Final = frozenset({COMPILED})
_SINGLE: Final = frozenset({str(torch.float32)})  # what states are kept in
_Run = Any


_TRITON: Final = frozenset({"cuda"} if gpu.INSTALLED else ())


def _table(compiled: _Run, plain: _Run) -> Table[_Run]:
    """By the numbers of the state."""
    return Table(
        (
            Entry(compiled, _SINGLE, _HERE),
            Entry(lambda _, *operands: gpu.scan(plain, *operands), _SINGLE, _TRITON),
            Entry(lambda _, *operands: plain(*operands)),
        )
    )


_MATRIX_SCAN: Final = _table(Kernels.matrix_scan, reference_matrix.matrix_scan)
_SELECTIVE_SCAN: Final = _table(Kernels.selective_scan, reference_scan.selective_scan)
_CAUSAL_CONV: Final = _table(Kernels.causal_conv, reference_scan.causal_conv)
_PREVIOUS: Final = _table(Kernels.previous, reference_scan.previous)
_GATED_SCAN: Final = _table(Kernels.gated_scan, reference_scan.gated_scan)
_WEIGHTED_MEAN: Final = _table(Kernels.weighted_mean, reference_scan.weighted_mean)


def _run(table: Table[_Run], x: Tensor, *operands: Any, kernels: Kernels | None) -> Tensor:
    """`operands` end with the state's name, its view and the batch."""
    name, cache, _ = operands[-3:]
    run = table.choose(str(cache.tensors[name].dtype), place_of(x, kernels), x.shape[0])
    out: Tensor = run(kernels, *operands)
    return out


def matrix_scan(step: Step, *, name: str, cache: StateView, batch: Batch, kernels: Kernels | None = None) -> Tensor:
    """What each token reads, [tokens, heads, width]. The state `name` is [heads, width, size]."""
    step = step if place_of(step.v, kernels) == COMPILED else step.spelled_out()
    return _run(_MATRIX_SCAN, step.v, step, name, cache, batch, kernels=kernels)


def selective_scan(
    x: Tensor,
    steps: Tensor,
    decay: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    name: str,
    cache: StateView,
    batch: Batch,
    kernels: Kernels | None = None,
) -> Tensor:
    """state = exp(step * decay) * state + step * b * x, and out = state . c, for each token in turn.

    x and steps [tokens, channels], decay [channels, size] below 0, b and c [tokens, size]; the state `name` is
    [channels, size]. All in fp32; so is the result [tokens, channels].
    """
    return _run(_SELECTIVE_SCAN, x, x, steps, decay, b, c, name, cache, batch, kernels=kernels)


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    name: str,
    cache: StateView,
    batch: Batch,
    silu: bool = True,
    kernels: Kernels | None = None,
) -> Tensor:
    """Each channel of x [tokens, channels] over its last inputs: weight [taps, channels], oldest first; silu after it.

    The state `name` [taps - 1, channels] holds the inputs before, oldest first. In fp32, whatever x is.
    """
    return _run(_CAUSAL_CONV, x, x, weight, bias, silu, name, cache, batch, kernels=kernels)


def previous(x: Tensor, *, name: str, cache: StateView, batch: Batch, kernels: Kernels | None = None) -> Tensor:
    """What x [tokens, channels] was for the token before; 0 for a sequence's first. The state `name` [channels] is the
    last one.
    """
    return _run(_PREVIOUS, x, x, name, cache, batch, kernels=kernels)


def gated_scan(
    factors: Tensor, terms: Tensor, *, name: str, cache: StateView, batch: Batch, kernels: Kernels | None = None
) -> Tensor:
    """state = factor * state + term for each token in turn: the states [tokens, channels], fp32 as all here.

    Factors are in 0..1; the state `name` is [channels].
    """
    return _run(_GATED_SCAN, factors, factors, terms, name, cache, batch, kernels=kernels)


def weighted_mean(
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    bonus: Tensor,
    *,
    name: str,
    cache: StateView,
    batch: Batch,
    kernels: Kernels | None = None,
) -> Tensor:
    """The mean of v [tokens, channels] over all tokens so far, each weighed by exp(k), the current one's by
    exp(k + bonus); `decay` [channels] below 0 is added to the logarithms of all weights with each token. In fp32.

    The state `name` [3, channels] is the weighted sum, the sum of weights, and the logarithm that both are times.
    """
    return _run(_WEIGHTED_MEAN, k, k, v, decay, bonus, name, cache, batch, kernels=kernels)

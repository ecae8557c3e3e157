"""What recurrent layers compute around their scans, with a choice of backend."""

from typing import Any, Final

import torch
from torch import Tensor

from . import reference_mixer
from .cpu.kernels import Kernels
from .cpu.products import NUMBERS
from .operands import GatedNorm, Pace, Skip
from .table import COMPILED, Entry, Table, place_of

_SINGLE: Final = frozenset({str(torch.float32)})
_FLOATS: Final = frozenset(map(str, NUMBERS))
_Run = Any


def _table(compiled: _Run, plain: _Run, kinds: frozenset[str]) -> Table[_Run]:
    """By the numbers that come in."""
    here = frozenset({COMPILED})
    return Table((Entry(compiled, kinds, here), Entry(lambda _, *operands: plain(*operands))))


_PACES: Final = _table(Kernels.paces, reference_mixer.paces, _FLOATS)
_UNIT: Final = _table(Kernels.unit, reference_mixer.unit, _SINGLE)
_LEAVING: Final = _table(Kernels.leaving, reference_mixer.leaving, _FLOATS)


def paces(steps: Tensor, pace: Pace, kernels: Kernels | None = None) -> tuple[Tensor, Tensor]:
    """Of what was projected, [tokens, columns]: the paces, and the decays that they make, which are the paces
    themselves where nobody asks. Both fp32.
    """
    run = _PACES.choose(str(steps.dtype), place_of(steps, kernels), len(steps))
    found: tuple[Tensor, Tensor] = run(kernels, steps, pace)
    return found


def unit(x: Tensor, factors: Tensor, eps: float, kernels: Kernels | None = None) -> Tensor:
    """x / root(sum of squares + eps) of each head of x [tokens, heads, size], times its number of `factors` [heads].
    In fp32.
    """
    run = _UNIT.choose(str(x.dtype), place_of(x, kernels), len(x))
    out: Tensor = run(kernels, x, factors, eps)
    return out


def leaving(
    x: Tensor, gate: Tensor, skip: Skip | None = None, norm: GatedNorm | None = None, kernels: Kernels | None = None
) -> Tensor:
    """What a scan gave, x fp32 [tokens, columns] in any heads, and what went past it, normed and times silu(gate):
    [tokens, columns] in the type of `gate`, computed in fp32.
    """
    run = _LEAVING.choose(str(gate.dtype), place_of(gate, kernels), len(gate))
    out: Tensor = run(kernels, x, gate, skip, norm)
    return out

"""What recurrent layers compute beside products, as calls of the compiled library: the kernels of `reference_scan.py`,
`reference_matrix.py` and `reference_mixer.py`. Every sequence of a batch goes in one call, whether it brings one token
or many.
"""

from math import inf
from typing import Final

import torch
from torch import Tensor

from ...contract import Batch, StateView
from ..operands import GatedNorm, Pace, Skip, heads_together, in_rows
from ..reference_matrix import Step
from . import scan_structures as structures
from .calls import Caller

CARRIED: Final = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}


class Scans(Caller):
    """States are fp32, and so is all but what projections give."""

    def matrix_scan(self, step: Step, name: str, cache: StateView, batch: Batch) -> Tensor:
        tokens, heads, width = step.v.shape
        out = torch.empty(tokens, heads, width)
        taken = None if step.taken is None else step.taken[..., None]
        parts = (step.q, step.k, step.v, step.decay, step.a, step.b, taken)
        laid = [None if part is None else in_rows(part) for part in parts]
        self._call(
            self._library.unillm_scan_matrix,
            structures.MatrixScan(
                _states(name, cache, batch),
                *(_heads(part, heads, tiled=step.tiled) for part in laid),
                out.data_ptr(),
                tokens,
                heads,
                width,
                step.q.shape[2],
                step.decay.shape[2],
                step.reads_before,
                step.replaces,
            ),
        )
        return out

    def selective_scan(
        self, x: Tensor, steps: Tensor, decay: Tensor, b: Tensor, c: Tensor, name: str, cache: StateView, batch: Batch
    ) -> Tensor:
        x, steps, b, c = (in_rows(part) for part in (x, steps, b, c))
        decay, out = decay.contiguous(), torch.empty(x.shape)
        self._call(
            self._library.unillm_scan_channels,
            structures.SelectiveScan(
                _states(name, cache, batch),
                *(part.data_ptr() for part in (x, steps, decay, b, c, out)),
                *(part.stride(0) for part in (x, steps, b, c)),
                *x.shape,
                decay.shape[1],
            ),
        )
        return out

    def paces(self, steps: Tensor, pace: Pace) -> tuple[Tensor, Tensor]:
        steps = in_rows(steps)
        slowness, decay = (None if part is None else part.contiguous() for part in (pace.slowness, pace.decay))
        paces = torch.empty(steps.shape)
        decays = paces if decay is None else torch.empty(steps.shape)
        self._call(
            self._library.unillm_pace,
            structures.Pacing(
                steps.data_ptr(),
                *(None if part is None else part.data_ptr() for part in (slowness, decay)),
                paces.data_ptr(),
                decays.data_ptr(),
                steps.stride(0),
                *steps.shape,
                CARRIED[steps.dtype],
                pace.shortest,
                inf if pace.longest is None else pace.longest,
            ),
        )
        return paces, decays

    def unit(self, x: Tensor, factors: Tensor, eps: float) -> Tensor:
        x, out = heads_together(x), torch.empty(x.shape)
        self._call(
            self._library.unillm_make_unit,
            structures.Unit(x.data_ptr(), factors.data_ptr(), out.data_ptr(), x.stride(0), *x.shape, eps),
        )
        return out

    def leaving(self, x: Tensor, gate: Tensor, skip: Skip | None, norm: GatedNorm | None) -> Tensor:
        x, gate = x.contiguous(), in_rows(gate)
        out = torch.empty(gate.shape, dtype=gate.dtype)
        skipped = None if skip is None else in_rows(skip.values)
        columns = gate.shape[1]
        group = columns if norm is None else columns // norm.groups
        self._call(
            self._library.unillm_leave,
            structures.Leaving(
                x.data_ptr(),
                None if skipped is None else skipped.data_ptr(),
                None if skip is None else skip.through.data_ptr(),
                gate.data_ptr(),
                None if norm is None else norm.weight.data_ptr(),
                out.data_ptr(),
                0 if skipped is None else skipped.stride(0),
                gate.stride(0),
                *gate.shape,
                1 if skip is None else columns // len(skip.through),
                group,
                0 if norm is None or norm.weight.numel() == group else group,
                CARRIED[gate.dtype],
                norm is not None and norm.gate_first,
                0.0 if norm is None else norm.eps,
            ),
        )
        return out

    def causal_conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        silu: bool,
        name: str,
        cache: StateView,
        batch: Batch,
    ) -> Tensor:
        x, weight = in_rows(x), weight.contiguous()
        out = torch.empty(x.shape)
        self._call(
            self._library.unillm_convolve,
            structures.Convolution(
                _states(name, cache, batch),
                x.data_ptr(),
                weight.data_ptr(),
                None if bias is None else bias.data_ptr(),
                out.data_ptr(),
                x.stride(0),
                *x.shape,
                weight.shape[0],
                CARRIED[x.dtype],
                silu,
            ),
        )
        return out

    def previous(self, x: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
        x = in_rows(x)
        out = torch.empty(x.shape, dtype=x.dtype)
        states = _states(name, cache, batch)
        call = structures.Carrying(states, x.data_ptr(), out.data_ptr(), x.stride(0), *x.shape, CARRIED[x.dtype])
        self._call(self._library.unillm_carry, call)
        return out

    def gated_scan(self, factors: Tensor, terms: Tensor, name: str, cache: StateView, batch: Batch) -> Tensor:
        parts = [in_rows(part) for part in (factors, terms)]
        out = torch.empty(factors.shape)
        self._call(
            self._library.unillm_fade,
            structures.Fading(
                _states(name, cache, batch),
                *(part.data_ptr() for part in parts),
                out.data_ptr(),
                *(part.stride(0) for part in parts),
                *factors.shape,
            ),
        )
        return out

    def weighted_mean(
        self, k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, name: str, cache: StateView, batch: Batch
    ) -> Tensor:
        k, v = in_rows(k), in_rows(v)
        out = torch.empty(k.shape)
        self._call(
            self._library.unillm_average,
            structures.Averaging(
                _states(name, cache, batch),
                *(part.data_ptr() for part in (k, v, decay, bonus, out)),
                k.stride(0),
                v.stride(0),
                *k.shape,
            ),
        )
        return out


def _states(name: str, cache: StateView, batch: Batch) -> structures.States:
    rows = cache.tensors[name]
    parts = (rows, cache.sources, cache.targets, cache.fresh, batch.starts)
    return structures.States(*(part.data_ptr() for part in parts), rows.stride(0), len(batch.queries))


def _heads(x: Tensor | None, heads: int, *, tiled: bool) -> structures.Heads:
    """Vectors that `heads` heads have, or share."""
    if x is None:
        return structures.Heads()
    return structures.Heads(x.data_ptr(), *x.stride()[:2], 1 if tiled else heads // x.shape[1], x.shape[1])

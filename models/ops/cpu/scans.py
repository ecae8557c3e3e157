"""What recurrent layers compute beside products, as calls of the compiled library: the kernels of `reference_scan.py`
and `reference_matrix.py`. Every sequence of a batch goes in one call, whether it brings one token or many.
"""

from typing import Final

import torch
from torch import Tensor

from ...contract import Batch, StateView
from ..operands import in_rows
from ..reference_matrix import Step
from . import scan_structures as structures
from .calls import Caller

CARRIED: Final = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30}


class Scans(Caller):
    """States are fp32, and so is all but what `previous` takes."""

    def matrix_scan(self, step: Step, name: str, cache: StateView, batch: Batch) -> Tensor:
        tokens, heads, size = step.q.shape
        width = step.v.shape[2]
        out = torch.empty(tokens, heads, width)
        parts = (step.q, step.k, step.v, step.decay, step.a, step.b)
        laid = [None if part is None else in_rows(part) for part in parts]
        self._call(
            self._library.unillm_scan_matrix,
            structures.MatrixScan(
                _states(name, cache, batch),
                *(_heads(part) for part in laid),
                out.data_ptr(),
                tokens,
                heads,
                width,
                size,
                step.decay.shape[2],
                step.reads_before,
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
                weight.shape[1],
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


def _heads(x: Tensor | None) -> structures.Heads:
    return structures.Heads() if x is None else structures.Heads(x.data_ptr(), *x.stride()[:2])

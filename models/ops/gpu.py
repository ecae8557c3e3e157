"""What serves on a GPU: Triton's kernels where they are installed, run, and a call fits them; else plain torch.

Which calls fit is said here, and each reason why one does not is told once, in the log. Triton is imported with the
first call: it takes its time, and whoever computes on a CPU has no use for it.
"""

import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import AttentionSpec, Batch, PagedView
from . import reference, reference_attention
from .operands import Norm, Rotation, in_rows

INSTALLED: Final = find_spec("triton") is not None
NUMBERS: Final = (torch.float32, torch.float16, torch.bfloat16)
PAGES: Final = (*NUMBERS, torch.int8, torch.float8_e4m3fn)
WIDEST_HEAD: Final = 256  # beyond, a tile of keys and one of values do not fit beside each other

_LOG: Final = logging.getLogger(__name__)


def dense_linear(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], onto: Tensor | None = None
) -> Tensor:
    """x @ weight.T + bias of each, side by side: each product is written where it belongs, or added there."""
    if any(weight.dtype != x.dtype for weight in weights) or (onto is not None and onto.dtype != x.dtype):
        return reference.dense_linear(x, weights, biases, onto)
    sizes = [len(weight) for weight in weights]
    if onto is None and len(weights) == 1:
        return F.linear(x, weights[0], biases[0])
    out = x.new_empty(len(x), sum(sizes)) if onto is None else onto
    for part, weight, bias in zip(torch.split(out, sizes, -1), weights, biases, strict=True):
        if onto is None:
            torch.mm(x, weight.T, out=part)
        else:
            part.addmm_(x, weight.T)
        if bias is not None:
            part += bias
    return out


def rms_norm(x: Tensor, norm: Norm) -> Tensor:
    """Of x [rows, columns]."""
    if x.dim() != 2 or not runs(x.device):
        return reference.rms_norm(x, norm)
    from .triton import rows

    return rows.rms_norm(in_rows(x), norm)


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, of [rows, gate and up side by side]."""
    if gate_up.dim() != 2 or not runs(gate_up.device):
        return reference.silu_mul(gate_up)
    from .triton import rows

    return rows.gated(in_rows(gate_up))


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Norm | None,
    k_norm: Norm | None,
    rotation: Rotation | None,
    spec: AttentionSpec,
    cache: PagedView,
    batch: Batch,
) -> Tensor:
    """Norm, rotate, store, attend. q is overwritten where it is normed or rotated."""
    reason = misfit(q, cache)
    if reason is not None:
        _tell(reason)
    if reason is not None or not runs(q.device):
        return reference_attention.attention(q, k, v, q_norm, k_norm, rotation, spec, cache, batch)
    from .triton import decode, heads, prefill

    q, k, v = (in_rows(x) for x in (q, k, v))
    if rotation is not None:
        rotation = Rotation(rotation.cos.float().contiguous(), rotation.sin.float().contiguous(), rotation.interleaved)
    heads.prepare(q, k, v, q_norm, k_norm, rotation, cache)
    out = q.new_empty(q.shape)
    most = max(batch.queries, default=0)
    if 1 in batch.queries:
        decode.attend_tokens(q, out, spec, cache, batch)
    if most > 1:
        prefill.attend_chunks(q, out, spec, cache, batch)
    return out


def misfit(q: Tensor, cache: PagedView) -> str | None:
    """Why the kernels do not attend such a call; None: they do."""
    if q.shape[2] > WIDEST_HEAD:
        return f"heads of {q.shape[2]} numbers, more than {WIDEST_HEAD}"
    if cache.keys.dtype not in PAGES:
        return f"pages of {cache.keys.dtype}"
    if cache.keys.stride(3) != 1 or cache.values.stride(3) != 1:
        return "pages in which a head's numbers do not lie together"
    return None


@cache
def runs(device: torch.device) -> bool:
    """Whether Triton can make a kernel for it and run that: it wants a C compiler and a driver that it knows."""
    from .triton import rows

    try:
        rows.gated(torch.ones(1, 32, device=device)).cpu()
    except Exception as error:  # a door: what others' compilers fail of has many names
        _LOG.warning("plain torch serves %s, not our kernels: Triton makes none that runs there: %s", device, error)
        return False
    return True


@cache
def _tell(reason: str) -> None:
    """Once each."""
    _LOG.warning("plain torch attends on the GPU, not our kernels, because of %s", reason)

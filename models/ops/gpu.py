"""What serves on a GPU: Triton's kernels where they are installed, run, and a call fits them; else plain torch.

Which calls fit is said here, and each reason why one does not is told once, in the log. Until a kernel is compiled,
plain torch serves its calls, too. Triton is imported with the first call: it takes its time, and whoever computes on a
CPU has no use for it.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache, wraps
from importlib.util import find_spec
from typing import Any, Final, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import AttentionSpec, Batch, PagedView
from . import reference, reference_attention, reference_sampling
from .compiling import NotCompiled, at_once, backlog
from .operands import Choosing, Norm, Rotation, in_rows

INSTALLED: Final = find_spec("triton") is not None
NUMBERS: Final = (torch.float32, torch.float16, torch.bfloat16)
PAGES: Final = (*NUMBERS, torch.int8, torch.float8_e4m3fn)
WIDEST_HEAD: Final = 256  # beyond, a tile of keys and one of values do not fit beside each other

Operands = ParamSpec("Operands")

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


def or_plain(plain: Callable[..., Tensor]) -> Callable[[Callable[Operands, Tensor]], Callable[Operands, Tensor]]:
    """Let `plain` serve the calls whose kernels are not there yet. These find all as it was."""

    def over(kernels: Callable[Operands, Tensor]) -> Callable[Operands, Tensor]:
        @wraps(kernels)
        def served(*operands: Operands.args, **named: Operands.kwargs) -> Tensor:
            try:
                return kernels(*operands, **named)
            except NotCompiled:
                return plain(*operands, **named)

        return served

    return over


@or_plain(reference.rms_norm)
def rms_norm(x: Tensor, norm: Norm, onto: Tensor | None = None) -> Tensor:
    """Of x [rows, columns]; added to `onto`."""
    same = onto is None or onto.dtype == x.dtype
    if x.dim() != 2 or not same or not runs(x.device):
        return reference.rms_norm(x, norm, onto)
    from .triton import rows

    return rows.rms_norm(in_rows(x), norm, None if onto is None else in_rows(onto))


@or_plain(reference.silu_mul)
def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, of [rows, gate and up side by side]."""
    if gate_up.dim() != 2 or not runs(gate_up.device):
        return reference.silu_mul(gate_up)
    from .triton import rows

    return rows.gated(in_rows(gate_up))


@or_plain(reference.gelu_mul)
def gelu_mul(gate_up: Tensor) -> Tensor:
    """gelu(gate) * up by tanh, of [rows, gate and up side by side]."""
    if gate_up.dim() != 2 or not runs(gate_up.device):
        return reference.gelu_mul(gate_up)
    from .triton import rows

    return rows.gated(in_rows(gate_up), "gelu_tanh")


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
    reason = misfit(q.shape[2], cache.keys.dtype)
    if reason is not None:
        tell("attends", reason)
    if reason is not None or not runs(q.device):
        return reference_attention.attention(q, k, v, q_norm, k_norm, rotation, spec, cache, batch)
    return attend(prepared(q, k, v, q_norm, k_norm, rotation, cache), spec, cache, batch)


@or_plain(reference_attention.prepared)
def prepared(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Norm | None,
    k_norm: Norm | None,
    rotation: Rotation | None,
    cache: PagedView,
) -> Tensor:
    """Queries as they ask, once keys and values are stored; q itself where it can be."""
    from .triton import heads

    q, k, v = (in_rows(x) for x in (q, k, v))
    if rotation is not None:
        rotation = Rotation(rotation.cos.float().contiguous(), rotation.sin.float().contiguous(), rotation.interleaved)
    heads.prepare(q, k, v, q_norm, k_norm, rotation, cache)
    return q


@or_plain(reference_attention.attend)
def attend(q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
    """What queries find that are prepared, in pages where all is stored."""
    from .triton import decode, prefill

    q = in_rows(q)
    out = q.new_empty(q.shape)
    most = max(batch.queries, default=0)
    if 1 in batch.queries:
        decode.attend_tokens(q, out, spec, cache, batch)
    if most > 1:
        prefill.attend_chunks(q, out, spec, cache, batch)
    return out


def chooses(device: torch.device) -> bool:
    """Whether a kernel chooses tokens there: by noise that it makes itself, where plain torch draws by a number that it
    is given. What asks must go one way for all of a request, or its seed means two texts.
    """
    return INSTALLED and device.type == "cuda" and runs(device)


def choose(scores: Tensor, choosing: Choosing, chosen: Tensor, best: Tensor) -> None:
    """Write the token of each row of scores [rows, vocabulary] to `chosen` int64 [rows], and to `best` fp32 [rows] its
    largest score: NaN where scores are no numbers, and the token is 0.
    """
    from .triton import sampling

    try:
        sampling.choose(in_rows(scores), choosing, chosen, best)
    except NotCompiled:
        reference_sampling.choose(scores, choosing, chosen, best)


def scan(plain: Callable[..., Tensor], *operands: Any) -> Tensor:
    """What a scan of plain torch computes, by the kernel of its name. `operands` end with the state view and batch."""
    if not runs(operands[-2].sources.device):
        return plain(*operands)
    from .triton import matrix, scans

    kernel: Callable[..., Tensor] = getattr(matrix if plain.__name__ == "matrix_scan" else scans, plain.__name__)
    try:
        return kernel(*operands)
    except NotCompiled:
        return plain(*operands)


def serves(q: Tensor, cache: PagedView) -> bool:
    """Whether kernels attend such a call."""
    here = INSTALLED and q.device.type == "cuda"
    return here and misfit(q.shape[2], cache.keys.dtype) is None and runs(q.device)


def misfit(head_dim: int, pages: torch.dtype) -> str | None:
    """Why the kernels do not attend such a call; None: they do."""
    if head_dim > WIDEST_HEAD:
        return f"heads of {head_dim} numbers, more than {WIDEST_HEAD}"
    return None if pages in PAGES else f"pages of {pages}"


def missed() -> int:
    """How many launches have found their kernel still on its way, in this process."""
    return backlog().missed


@cache
def runs(device: torch.device) -> bool:
    """Whether Triton can make a kernel for it and run that: it wants a C compiler and a driver that it knows."""
    from .triton import rows

    try:
        with at_once():
            rows.gated(torch.ones(1, 32, device=device)).cpu()
    except Exception as error:  # a door: what others' compilers fail of has many names
        _LOG.warning("plain torch serves %s, not our kernels: Triton makes none that runs there: %s", device, error)
        return False
    return True


@cache
def tell(does: str, reason: str) -> None:
    """Say why kernels do not do it. Once each."""
    _LOG.warning("plain torch %s on the GPU, not our kernels, because of %s", does, reason)

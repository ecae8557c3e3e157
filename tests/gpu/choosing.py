"""On a GPU: tokens that the kernel chooses against those of plain torch by the same noise; scans, and backends in
company, against plain torch; and what choosing costs.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.contract import AttentionSpec, Batch, StateTensor, StateView
from unillm.models.ops import gpu, reference_attention, reference_matrix, reference_sampling, reference_scan
from unillm.models.ops.backends import Phases
from unillm.models.ops.backends.ours import Eager, Sdpa, Triton
from unillm.models.ops.operands import Choosing
from unillm.models.ops.reference_matrix import Step
from unillm.tests.gpu.pages import paged
from unillm.tests.models.states import COUNTS, batch_of

VOCABULARY = 151936
_TOKENS = sum(COUNTS)
_HEADS, _WIDTH, _CHANNELS = 4, 64, 300


def choosing(rows: int, device: torch.device, kind: str = "all") -> Choosing:
    """Each row another way, or all of them one: "greedy", "drawn" or "filtered"."""
    ways = {"greedy": (0.0, 1.0, 0.0, 0), "drawn": (0.8, 1.0, 0.0, 0), "filtered": (0.8, 0.9, 0.02, 40)}
    each = list(ways.values()) if kind == "all" else [ways[kind]]
    told = torch.tensor([each[row % len(each)] for row in range(rows)], dtype=torch.float64, device=device)
    heat, top_p, min_p, top_k = told.T.contiguous()
    numbers = torch.arange(rows, device=device)
    return Choosing(heat, top_p, min_p, top_k.long(), numbers * 7919 + 12345678901, numbers + 5)


def choosing_checks(device: torch.device, vocabulary: int = VOCABULARY) -> Iterator[tuple[str, float, float]]:
    """How many tokens are others, of 48; a near tie may be."""
    for dtype in (torch.float32, torch.bfloat16):
        scores, how = (torch.randn(48, vocabulary, device=device) * 3).to(dtype), choosing(48, device)
        chosen = torch.zeros(2, 48, dtype=torch.int64, device=device)
        best = torch.zeros(2, 48, device=device)
        gpu.choose(scores, how, chosen[0], best[0])
        reference_sampling.choose(scores, how, chosen[1], best[1])
        yield f"tokens chosen from {str(dtype).removeprefix('torch.')}", float((chosen[0] != chosen[1]).sum()), 1.0


def scan_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Out and state, of sequences that begin and that go on."""
    x, y = torch.rand(2, _TOKENS, _CHANNELS, device=device)
    few, pace = torch.randn(_TOKENS, 16, device=device), -torch.rand(_CHANNELS, device=device)
    q, k, v = torch.randn(3, _TOKENS, _HEADS, _WIDTH, device=device)
    a = k / k.norm(dim=-1, keepdim=True)
    step = Step(q, k, v, -torch.rand(_TOKENS, _HEADS, _WIDTH, device=device), a, -a * 0.5)
    deep = -torch.rand(_CHANNELS, 16, device=device)
    weight = torch.randn(4, _CHANNELS, device=device)
    for plain, shape, operands in (
        (reference_scan.gated_scan, (_CHANNELS,), (x, y)),
        (reference_scan.previous, (_CHANNELS,), (x,)),
        (reference_scan.weighted_mean, (3, _CHANNELS), (x, y, pace, pace)),
        (reference_scan.causal_conv, (3, _CHANNELS), (x, weight, pace, True)),
        (reference_scan.selective_scan, (_CHANNELS, 16), (x, y, deep, few, few)),
        (reference_matrix.matrix_scan, (_HEADS, _WIDTH, _WIDTH), (step,)),
    ):
        found = []
        for scan in (gpu.scan, lambda plain, *given: plain(*given)):
            batch, view = _states(StateTensor(shape), device)
            out = scan(plain, *operands, "kept", view, batch)
            found.append(torch.cat((out.flatten(), view.tensors["kept"][len(COUNTS) :].flatten())))
        yield plain.__name__.replace("_", " "), float((found[0] - found[1]).abs().max()), 1e-3


def backend_checks(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Iterator[tuple[str, float, float]]:
    """Prompts by one backend and single tokens by another, in one batch."""
    spec, queries, contexts = AttentionSpec(0.09), [1, 40, 1, 7], [90, 40, 33, 100]
    view, batch = paged(contexts, 8, 128, dtype, queries, device)
    q, k, v = torch.randn(sum(queries), 32, 128, device=device, dtype=dtype).split_with_sizes((16, 8, 8), 1)
    wanted = reference_attention.attention(q.clone(), k, v, None, None, None, spec, view, batch)
    for phases in (Phases(Sdpa(), Triton()), Phases(Triton(), Eager())):
        chosen = replace(batch, attention=phases)
        got = ops.attention(q.clone(), k, v, spec=spec, cache=view, batch=chosen)
        names = " and ".join(type(each).__name__ for each in (phases.prefill, phases.decode))
        yield f"attention by {names}", float((got.float() - wanted.float()).abs().max()), 4e-2


def choosing_work(device: torch.device) -> Iterator[tuple[str, Tensor, Choosing]]:
    """What is worth timing: scores of 256 rows, and how they choose."""
    scores = torch.randn(256, VOCABULARY, device=device, dtype=torch.bfloat16)
    for kind in ("greedy", "drawn", "filtered"):
        yield kind, scores, choosing(256, device, kind)


def _states(tensor: StateTensor, device: torch.device) -> tuple[Batch, StateView]:
    batch, view = batch_of(tensor)
    kept = {"kept": view.tensors["kept"].abs().to(device)}
    moved = StateView(kept, *(each.to(device) for each in (view.sources, view.targets, view.fresh)))
    return replace(batch, starts=batch.starts.to(device), lengths=batch.lengths.to(device), cache=[moved]), moved

"""Sequences in scattered pages on a GPU, laid as a pool lays them: a head's tokens one behind the other."""

import torch
from torch import Tensor

from unillm.models.contract import Batch, PagedView
from unillm.models.ops.reference_attention import quantize

PAGE = 16


def paged(
    contexts: list[int], kv_heads: int, dim: int, dtype: torch.dtype, queries: list[int], device: torch.device
) -> tuple[PagedView, Batch]:
    """Pages of random numbers for sequences of `contexts` tokens, of which the last `queries` are new."""
    counts = [-(-context // PAGE) for context in contexts]
    total = sum(counts)
    order = torch.randperm(total, device=device, dtype=torch.int32)
    table = torch.zeros(len(contexts), max(counts), dtype=torch.int32, device=device)
    for row, (first, count) in enumerate(zip(_before(counts), counts, strict=True)):
        table[row, :count] = order[first : first + count]
    positions = torch.cat([torch.arange(c - q, c, device=device) for c, q in zip(contexts, queries, strict=True)])
    owners = torch.arange(len(contexts), device=device).repeat_interleave(torch.tensor(queries, device=device))
    slots = table[owners, positions // PAGE].long() * PAGE + positions % PAGE
    numbers = torch.randn(total, 2, kv_heads, PAGE, dim, device=device, dtype=torch.bfloat16).transpose(2, 3)
    keys, values, scales = _stored(numbers, dtype)
    view = PagedView(keys, values, table, slots, *scales)
    return view, Batch(
        ids=torch.zeros(sum(queries), dtype=torch.int64, device=device),
        positions=positions,
        rows=torch.arange(len(contexts), device=device),
        queries=tuple(queries),
        contexts=tuple(contexts),
        starts=torch.tensor([0, *queries], device=device).cumsum(0).int(),
        lengths=torch.tensor(contexts, dtype=torch.int32, device=device),
        cache=[view],
    )


def _before(counts: list[int]) -> list[int]:
    return [sum(counts[:index]) for index in range(len(counts))]


def _stored(numbers: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None]]:
    if dtype is not torch.int8:
        stored = numbers.to(dtype)
        return stored[:, 0], stored[:, 1], (None, None)
    steps, scales = quantize(numbers)
    whole = steps.to(torch.int8)
    return whole[:, 0], whole[:, 1], (scales[:, 0].contiguous(), scales[:, 1].contiguous())

"""Attention by backends that somebody chose: one for prompts and chunks of them, one for single tokens.

Whoever attends, what comes before is the same: queries and keys are normed and turned, keys and values are stored in
pages. Where nobody chose, nothing here is asked: `ops.attention` takes what its device has.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from .. import gpu, reference_attention
from ..operands import Norm, Rotation
from .flash import FlashAttention
from .infer import FlashInfer
from .ours import Eager, Sdpa, Triton

__all__ = ["BACKENDS", "MODULES", "Backend", "Phases", "missing"]


class Backend(Protocol):
    """One way to attend. It may keep what it worked out for a batch until the next one comes."""

    page_grain: ClassVar[int]  # what a page's tokens must be a multiple of

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> str | None:
        """Why it cannot attend so, in words; None: it can."""
        ...

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        """What queries [tokens, heads, head_dim] find that are prepared, in pages where all is stored: shaped as q."""
        ...


BACKENDS: Final[Mapping[str, type[Backend]]] = {
    "eager": Eager,
    "sdpa": Sdpa,
    "triton": Triton,
    "flash-attn": FlashAttention,
    "flashinfer": FlashInfer,
}
MODULES: Final = {"triton": "triton", "flash-attn": "flash_attn", "flashinfer": "flashinfer"}


def missing(name: str) -> str | None:
    """The module that a backend wants and that is not installed."""
    module = MODULES.get(name)
    return module if module is not None and find_spec(module) is None else None


class Phases:
    """A backend for prompts and one for single tokens, as `Batch.attention` wants them."""

    def __init__(self, prefill: Backend, decode: Backend) -> None:
        self.prefill, self.decode = prefill, decode
        self._split: _Split | None = None

    def __call__(
        self,
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
        """As `ops.attention`."""
        prepared = gpu.prepared if gpu.serves(q, cache) else reference_attention.prepared
        q = prepared(q, k, v, q_norm, k_norm, rotation, cache)
        singles = batch.queries.count(1)
        if singles == len(batch.queries):
            return self.decode.attend(q, spec, cache, batch)
        if not singles or self.prefill is self.decode:
            return self.prefill.attend(q, spec, cache, batch)
        if self._split is None or self._split.batch is not batch:
            self._split = _Split(batch)
        out = torch.empty_like(q)
        for backend, half in ((self.decode, self._split.singles), (self.prefill, self._split.others)):
            view = replace(cache, table=cache.table[half.sequences], slots=cache.slots[half.tokens])
            out[half.tokens] = backend.attend(q[half.tokens], spec, view, half.batch)
        return out


class _Half:
    """Some sequences of a batch, as a batch of their own."""

    def __init__(self, batch: Batch, members: list[int]) -> None:
        device = batch.lengths.device
        begins = [sum(batch.queries[:member]) for member in members]
        counts = [batch.queries[member] for member in members]
        rows = [begin + i for begin, count in zip(begins, counts, strict=True) for i in range(count)]
        self.sequences = torch.tensor(members, device=device)
        self.tokens = torch.tensor(rows, device=device)
        self.batch = replace(
            batch,
            ids=batch.ids[self.tokens],
            positions=batch.positions[self.tokens],
            queries=tuple(counts),
            contexts=tuple(batch.contexts[member] for member in members),
            starts=torch.tensor([0, *counts], device=device).cumsum(0).int(),
            lengths=batch.lengths[self.sequences],
        )


class _Split:
    """The sequences of a batch that bring one token, and those that bring several."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        counts = list(enumerate(batch.queries))
        self.singles = _Half(batch, [i for i, count in counts if count == 1])
        self.others = _Half(batch, [i for i, count in counts if count != 1])

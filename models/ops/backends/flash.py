"""flash-attn, by its interface for pages: `flash_attn_with_kvcache` with a block table (of version 2).

Written to its documentation and checked against a stand-in for it; nobody has run it with the package yet.
"""

from importlib import import_module
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView

_WIDEST_HEAD: Final = 256


class FlashAttention:
    """Sequences of one token go in one call; others one by one, for they are not equally long."""

    page_grain: ClassVar[int] = 256

    def __init__(self) -> None:
        self._module: Any = import_module("flash_attn")

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> str | None:
        if place.type != "cuda":
            return f"it does not run on {place.type}"
        if pages not in (torch.float16, torch.bfloat16):
            return "it reads pages of fp16 and bf16 alone"
        if head_dim > _WIDEST_HEAD or head_dim % 8:
            return f"it takes heads of up to {_WIDEST_HEAD} numbers, in eights, and these have {head_dim}"
        if spec.sinks is not None or spec.chunk is not None:
            return "it knows neither sinks nor chunks of positions"
        return None

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        sequences = len(batch.queries)
        if len(q) == sequences:
            return self._call(q[:, None], batch.lengths, cache.table, spec, cache)[:, 0]
        out, token = torch.empty_like(q), 0
        for i, count in enumerate(batch.queries):
            tokens, one = slice(token, token + count), slice(i, i + 1)
            out[tokens] = self._call(q[None, tokens], batch.lengths[one], cache.table[one], spec, cache)[0]
            token += count
        return out

    def _call(self, q: Tensor, lengths: Tensor, table: Tensor, spec: AttentionSpec, cache: PagedView) -> Tensor:
        """Of q [sequences, tokens, heads, head_dim], which are the last of as many sequences."""
        found: Tensor = self._module.flash_attn_with_kvcache(
            q,
            cache.keys,
            cache.values,
            cache_seqlens=lengths,
            block_table=table,
            softmax_scale=spec.scale,
            causal=spec.causal,
            window_size=(spec.window - 1, 0) if spec.causal and spec.window is not None else (-1, -1),
            softcap=spec.softcap or 0.0,
            alibi_slopes=None if spec.alibi is None else spec.alibi.float(),
        )
        return found

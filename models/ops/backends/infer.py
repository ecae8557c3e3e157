"""flashinfer, by its wrappers for pages, `BatchDecodeWithPagedKVCacheWrapper` and its like for prompts (0.2 and later).

Written to its documentation and checked against a stand-in for it; nobody has run it with the package yet. What a
batch needs is planned once for all layers that attend alike; plans are made on the host, so that steps through here
are not recorded.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView

_WORKSPACE: Final = 128 << 20  # bytes, as its documentation has it
_HEADS: Final = (64, 128, 256)
_PAGES: Final = (torch.float16, torch.bfloat16, torch.float8_e4m3fn)
_LARGE_GROUP: Final = 4  # beyond so many heads that ask one, tensor cores are worth it for single tokens


class FlashInfer:
    """Plans are kept until another batch comes."""

    page_grain: ClassVar[int] = 1

    def __init__(self) -> None:
        self._module: Any = import_module("flashinfer")
        self._workspace: Tensor | None = None
        self._wrappers: dict[tuple[Any, ...], Any] = {}
        self._batch: Batch | None = None
        self._tables: dict[int, int] = {}  # of this batch: where they lie, and their numbers
        self._planned: set[tuple[Any, ...]] = set()

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> str | None:
        if place.type != "cuda":
            return f"it does not run on {place.type}"
        if pages not in _PAGES:
            return "it reads pages of fp16, bf16 and fp8 alone"
        if head_dim not in _HEADS:
            return f"it takes heads of {', '.join(map(str, _HEADS))} numbers, and these have {head_dim}"
        if spec.sinks is not None or spec.alibi is not None or spec.chunk is not None:
            return "it knows neither sinks nor slopes of our kind, nor chunks of positions"
        return None

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        if self._batch is not batch:
            self._batch = batch
            self._tables.clear()
            self._planned.clear()
        several = len(q) > len(batch.queries)
        table = self._tables.setdefault(cache.table.data_ptr(), len(self._tables))
        shapes = (q.shape[1:], q.dtype, cache.keys.shape[1:])
        key = (several, table, *shapes, spec.scale, spec.window, spec.softcap, spec.causal)
        wrapper = self._wrappers.get(key) or self._wrappers.setdefault(key, self._wrapper(q, cache, several))
        if key not in self._planned:
            self._plan(wrapper, q, spec, cache, batch, several)
            self._planned.add(key)
        found: Tensor = wrapper.run(q, (cache.keys.transpose(1, 2), cache.values.transpose(1, 2)))
        return found

    def _wrapper(self, q: Tensor, cache: PagedView, several: bool) -> Any:
        """Heads of a page's tokens lie one behind the other, which it calls HND. All write to one workspace in turn."""
        if self._workspace is None:
            self._workspace = torch.empty(_WORKSPACE, dtype=torch.uint8, device=q.device)
        if several:
            return self._module.BatchPrefillWithPagedKVCacheWrapper(self._workspace, "HND")
        group = q.shape[1] // cache.keys.shape[2]
        return self._module.BatchDecodeWithPagedKVCacheWrapper(
            self._workspace, "HND", use_tensor_cores=group > _LARGE_GROUP
        )

    def _plan(
        self, wrapper: Any, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch, several: bool
    ) -> None:
        page, heads, dim = cache.keys.shape[1:]
        counts = [-(-context // page) for context in batch.contexts]
        last = [context - (count - 1) * page for context, count in zip(batch.contexts, counts, strict=True)]
        pages = [row * cache.table.shape[1] + i for row, count in enumerate(counts) for i in range(count)]
        indices = cache.table.reshape(-1)[torch.tensor(pages, device=q.device)]
        where = (_from_zero(counts), indices, torch.tensor(last, dtype=torch.int32), q.shape[1], heads, dim, page)
        how = {
            "sm_scale": spec.scale,
            "window_left": -1 if spec.window is None or not spec.causal else spec.window - 1,
            "logits_soft_cap": spec.softcap,
            "q_data_type": q.dtype,
            "kv_data_type": cache.keys.dtype,
        }
        if several:
            wrapper.plan(_from_zero(batch.queries), *where, causal=spec.causal, **how)
        else:
            wrapper.plan(*where, **how)


def _from_zero(counts: Sequence[int]) -> Tensor:
    """Where each begins, and where the last one ends; on the host, where plans are made."""
    return torch.tensor([0, *counts]).cumsum(0).int()

"""Runs a model over scattered pages, the way a runtime would, without one.

Every number that a model has no business to read is NaN: unwritten slots, pages of nobody, and what has left a window.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from unillm.models.contract import Batch, LatentLayer, Model, PagedView, StateLayer, StateView, state_rows

PAGE = 16
STATES = 16
_NO_PAGE = 1 << 30


class Pages:
    """A cache of small pages in random order, and the sequences in it."""

    def __init__(
        self,
        model: Model,
        pages: int = 64,
        seed: int = 3,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`around` is entered for each forward pass."""
        self.model, self.around = model, around
        self.spec = model.cache_spec()
        self.layers = self.spec.paged
        shapes = [(pages, PAGE, layer.kv_heads, layer.head_dim) for layer in self.layers]
        self.keys = [torch.full(shape, torch.nan, dtype=model.place.dtype) for shape in shapes]
        self.values = [
            keys if isinstance(layer, LatentLayer) else torch.full_like(keys, torch.nan)
            for layer, keys in zip(self.layers, self.keys, strict=True)
        ]
        self.free = random.Random(seed).sample(range(pages), pages)
        self.states = [state_rows(layer, 2 * STATES, model.place.device) for layer in self.spec.recurrent]
        for tensor in (tensor for tensors in self.states for tensor in tensors.values()):
            tensor.fill_(torch.nan)
        self.tables: dict[int, list[int]] = {}
        self.lengths: dict[int, int] = {}
        self.turns: dict[int, int] = {}  # which of its two rows of states each sequence reads next

    @torch.inference_mode()
    def run(self, fresh: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        """New tokens of some sequences in one batch, in this order; the logits of each."""
        for sequence, ids in fresh.items():
            self._release(sequence)
            self._grow(sequence, len(ids))
        batch = self._batch(fresh)
        with self.around():
            logits = self.model.logits(self.model.forward(batch)[batch.rows])
        return dict(zip(fresh, torch.split(logits, [len(ids) for ids in fresh.values()]), strict=True))

    def whole(self, ids: Sequence[int], sequence: int = 0) -> Tensor:
        return self.run({sequence: ids})[sequence]

    def pieces(self, ids: Sequence[int], sizes: Sequence[int], sequence: int = 0) -> Tensor:
        """The same tokens in several forward passes."""
        chunks = torch.split(torch.tensor(ids), list(sizes))
        return torch.cat([self.whole(chunk.tolist(), sequence) for chunk in chunks])

    def _grow(self, sequence: int, count: int) -> None:
        table = self.tables.setdefault(sequence, [])
        self.lengths[sequence] = self.lengths.get(sequence, 0) + count
        while len(table) * PAGE < self.lengths[sequence]:
            table.append(self.free.pop())

    def _release(self, sequence: int) -> None:
        """Poison what no token to come can see."""
        done = self.lengths.get(sequence, 0)
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            for position in range(0 if layer.window is None else max(0, done + 1 - layer.window)):
                page, offset = self.tables[sequence][position // PAGE], position % PAGE
                keys[page, offset] = values[page, offset] = torch.nan

    def _batch(self, fresh: Mapping[int, Sequence[int]]) -> Batch:
        queries = tuple(len(ids) for ids in fresh.values())
        contexts = tuple(self.lengths[sequence] for sequence in fresh)
        positions = [torch.arange(end - count, end) for count, end in zip(queries, contexts, strict=True)]
        most = max(len(self.tables[sequence]) for sequence in fresh)
        rows = [self.tables[sequence] + [_NO_PAGE] * most for sequence in fresh]
        table = torch.tensor([row[:most] for row in rows], dtype=torch.int32)
        slots = [table[i].long()[where // PAGE] * PAGE + where % PAGE for i, where in enumerate(positions)]
        return Batch(
            ids=torch.tensor([token for ids in fresh.values() for token in ids]),
            positions=torch.cat(positions),
            rows=torch.arange(sum(queries)),
            queries=queries,
            contexts=contexts,
            starts=torch.tensor([0, *queries]).cumsum(0).int(),
            lengths=torch.tensor(contexts, dtype=torch.int32),
            cache=self._views(fresh, table, torch.cat(slots)),
        )

    def _views(self, fresh: Mapping[int, Sequence[int]], table: Tensor, slots: Tensor) -> list[PagedView | StateView]:
        """A sequence's states are in its two rows in turn; what it read before is poisoned."""
        begins = torch.tensor([self.lengths[sequence] == len(ids) for sequence, ids in fresh.items()])
        sources = torch.tensor([2 * sequence + self.turns.get(sequence, 0) for sequence in fresh])
        targets = sources ^ 1
        for sequence in fresh:
            self.turns[sequence] = 1 - self.turns.get(sequence, 0)
        for tensors in self.states:
            for tensor in tensors.values():
                tensor[targets] = torch.nan
        pages, states = zip(self.keys, self.values, strict=True), iter(self.states)
        return [
            StateView(next(states), sources, targets, begins)
            if isinstance(layer, StateLayer)
            else PagedView(*next(pages), table, slots)
            for layer in self.spec.layers
        ]

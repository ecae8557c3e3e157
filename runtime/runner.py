"""Makes tensors of a step's chunks and runs the model on them.

All that differs between steps is gathered in two arrays, one a width of integer, and crosses to the device in two
copies; the tensors of the batch are slices of these. The page table lives here as one array and is updated only where a
sequence's pages changed.
"""

from collections.abc import Sequence as Many

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.contract import Batch, Model, PagedView
from .kv.pool import KVPool
from .scheduler import Chunk
from .sequence import Sequence


class Runner:
    """Runs `model` over the pages of `pool`, for up to `sequences` sequences of up to `context` tokens at once."""

    def __init__(self, model: Model, pool: KVPool, *, sequences: int, context: int) -> None:
        self.model = model
        self.pool = pool
        self.device = model.place.device
        self._page_size = pool.layout.page_size
        self._table = np.zeros((sequences, -(-context // self._page_size)), dtype=np.int32)

    def run(self, chunks: Many[Chunk]) -> Tensor | None:
        """Scores [wanted tokens, vocabulary] fp32, chunk by chunk; None when no chunk wants any."""
        batch = self.batch(chunks)
        hidden = self.model(batch)
        wanted = len(batch.rows)
        if not wanted:
            return None
        logits: Tensor = self.model.logits(hidden if wanted == len(hidden) else hidden[batch.rows])
        return logits.float()

    def batch(self, chunks: Many[Chunk]) -> Batch:
        """What the model may know of `chunks`."""
        queries = [chunk.count for chunk in chunks]
        contexts = [chunk.start + chunk.count for chunk in chunks]
        counts = np.array(queries, dtype=np.int64)
        lengths = np.array(contexts, dtype=np.int64)
        ends = counts.cumsum()
        tokens = int(ends[-1])
        table = self._table_of([chunk.sequence for chunk in chunks], -(-max(contexts) // self._page_size))
        positions = np.arange(tokens, dtype=np.int64) + (lengths - ends).repeat(counts)
        pages = table[np.arange(len(chunks)).repeat(counts), positions // self._page_size]
        slots = pages.astype(np.int64) * self._page_size + positions % self._page_size
        wide = self._to_device(_ids(chunks), positions, slots, _rows(chunks, ends))
        starts, shown, flat = self._to_device(_from_zero(ends), lengths, table.reshape(-1), dtype=np.int32)
        return self._assemble(wide, queries, contexts, starts, shown, flat.view(table.shape))

    def _assemble(
        self,
        wide: list[Tensor],
        queries: list[int],
        contexts: list[int],
        starts: Tensor,
        lengths: Tensor,
        table: Tensor,
    ) -> Batch:
        ids, positions, slots, rows = wide
        views = [PagedView(k, v, table, slots) for k, v in zip(self.pool.keys, self.pool.values, strict=True)]
        return Batch(ids, positions, rows, tuple(queries), tuple(contexts), starts, lengths, views)

    def _table_of(self, sequences: list[Sequence], width: int) -> NDArray[np.int32]:
        """The pages of `sequences`, a row each, after noting what changed since they last ran."""
        for sequence in sequences:
            lease = sequence.lease
            if lease is not None and lease.written < len(lease.pages):
                self._table[sequence.row, lease.written : len(lease.pages)] = lease.pages[lease.written :]
                lease.written = len(lease.pages)
        return self._table[[sequence.row for sequence in sequences], :width]

    def _to_device(self, *arrays: NDArray[np.integer], dtype: type[np.integer] = np.int64) -> list[Tensor]:
        """One copy of all `arrays`, and the slices of it."""
        packed = np.concatenate(arrays, dtype=dtype, casting="same_kind")
        tensor = torch.from_numpy(packed).to(self.device)
        return list(torch.split(tensor, [len(array) for array in arrays]))


def _ids(chunks: Many[Chunk]) -> NDArray[np.int64]:
    ids: list[int] = []
    for chunk in chunks:
        if chunk.count == 1:
            ids.append(chunk.sequence.tokens[chunk.start])
        else:
            ids += chunk.sequence.tokens[chunk.start : chunk.stop]
    return np.array(ids, dtype=np.int64)


def _rows(chunks: Many[Chunk], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in the batch the tokens lie whose scores are wanted."""
    rows: list[int] = []
    for chunk, end in zip(chunks, ends.tolist(), strict=True):
        if wanted := chunk.wanted:
            rows += range(end - len(wanted), end)  # always the last ones of a chunk
    return np.array(rows, dtype=np.int64)


def _from_zero(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], ends))

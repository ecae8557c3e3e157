"""Makes tensors of a step's chunks and runs the model on them.

All that differs between steps is gathered in two arrays, one a width of integer, and crosses to the device in two
copies; the tensors of the batch are slices of these. The page tables live here as one array, a table for each group of
layers, and are updated only where a sequence's pages changed. Where a window was left behind they keep what they had:
nothing reads that.
"""

from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.contract import Batch, Model, PagedView, StateLayer, StateView
from ..models.ops.backends import Phases
from .kv.lease import Lease
from .kv.pool import KVPool
from .kv.states import StatePool
from .replay import Replays
from .scheduler import Chunk
from .sequence import Sequence

Send: TypeAlias = Callable[[NDArray[np.integer]], Tensor]  # numbers of the host as a tensor of the device


class _Views(Many[PagedView]):
    """The pages of each layer, with the table and the slots of its group; made when they are asked for, for a step that
    is replayed asks for few.
    """

    def __init__(self, pool: KVPool, groups: Many[int], tables: Many[Tensor], slots: Many[Tensor]) -> None:
        self._pool, self._groups, self._tables, self._slots = pool, groups, tables, slots

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, layer: Any) -> Any:
        pool, group = self._pool, self._groups[layer]
        return PagedView(
            pool.keys[layer],
            pool.values[layer],
            self._tables[group],
            self._slots[group],
            pool.key_scales[layer],
            pool.value_scales[layer],
        )


class Runner:
    """Runs `model` over the pages of `pool`, for up to `sequences` sequences of up to `context` tokens at once."""

    def __init__(
        self,
        model: Model,
        pool: KVPool,
        *,
        sequences: int,
        context: int,
        states: StatePool | None = None,
        attention: Phases | None = None,
    ) -> None:
        """`states` are those of the model's recurrent layers, where it has such; `attention` is what somebody chose."""
        self.attention = attention
        self.model = model
        self.pool = pool
        self.states = states
        self._layers = () if states is None else model.cache_spec().layers
        self.device = model.place.device
        self._page_size = pool.layout.page_size
        groups = pool.layout.groups
        self._group_of = [i for _, i in sorted((layer, i) for i, group in enumerate(groups) for layer in group.layers)]
        self._tables = np.zeros((len(groups), sequences, -(-context // self._page_size)), dtype=np.int32)
        self.replays = Replays(model, self._tables.shape[2])

    def put_by(self) -> None:
        """Part with the model, and with what was recorded of it: nothing runs before there is another."""
        del self.model, self.replays

    def take_up(self, model: Model) -> None:
        """Go on with `model`, which has the weights of the one before."""
        self.model = model
        self.replays = Replays(model, self._tables.shape[2])

    def run(self, chunks: Many[Chunk]) -> Tensor | None:
        """Scores [wanted tokens, vocabulary] fp32, chunk by chunk; None when no chunk wants any."""
        recorded = self._again(chunks)
        if recorded is not None:
            return recorded
        batch = self.batch(chunks)
        if not any(chunk.sequence.scored_from is not None for chunk in chunks):
            replayed = self.replays.run(batch)
            if replayed is not None:
                return replayed
        return self.compute(batch)

    def _again(self, chunks: Many[Chunk]) -> Tensor | None:
        """The same, where it is a recorded step of one token for each sequence: no batch is made. None where not."""
        inputs = self.replays.inputs(len(chunks))
        if inputs is None or not all(_is_next_token(chunk) for chunk in chunks):
            return None
        places = [chunk.start for chunk in chunks]
        table = self.tables_of([chunk.sequence for chunk in chunks], max(places) // self._page_size + 1)[0]
        pages = [table.item(row, place // self._page_size) for row, place in enumerate(places)]
        inputs.ids[:] = [chunk.sequence.tokens[chunk.start] for chunk in chunks]
        inputs.positions[:] = places
        inputs.lengths[:] = [place + 1 for place in places]
        inputs.slots[:] = [
            page * self._page_size + place % self._page_size for page, place in zip(pages, places, strict=True)
        ]
        inputs.table[:, : table.shape[1]] = table
        return self.replays.again(len(chunks))

    def compute(self, batch: Batch) -> Tensor | None:
        """The same of a batch that is made already, call by call."""
        scores = self.scores(batch)
        return None if scores is None else scores.float()

    def scores(self, batch: Batch) -> Tensor | None:
        """The same, in the model's own numbers."""
        hidden = self.model(batch)
        wanted = len(batch.rows)
        if not wanted:
            return None
        scores: Tensor = self.model.logits(hidden if wanted == len(hidden) else hidden[batch.rows])
        return scores

    def batch(self, chunks: Many[Chunk]) -> Batch:
        """What the model may know of `chunks`."""
        return self.prepare(chunks, (), self._copy)[0]

    def prepare(self, chunks: Many[Chunk], more: Many[NDArray[np.int64]], send: Send) -> tuple[Batch, list[Tensor]]:
        """The same, and tensors of `more` numbers beside it. `send` brings both to the device."""
        queries = [chunk.count for chunk in chunks]
        contexts = [chunk.start + chunk.count for chunk in chunks]
        counts = np.array(queries, dtype=np.int64)
        lengths = np.array(contexts, dtype=np.int64)
        ends = counts.cumsum()
        tokens = int(ends[-1])
        tables = self.tables_of([chunk.sequence for chunk in chunks], -(-max(contexts) // self._page_size))
        owners, positions = np.arange(len(chunks)), lengths - 1
        if tokens > len(chunks):
            owners = owners.repeat(counts)
            positions = np.arange(tokens, dtype=np.int64) + (lengths - ends).repeat(counts)
        number, place = np.divmod(positions, self._page_size)
        slots = tables[:, owners, number].astype(np.int64) * self._page_size + place
        wide = [_ids(chunks), positions, _rows(chunks, ends), *slots]
        if self.states is not None:
            wide += _state_rows(chunks)
        ids, places, rows, *others = _sent(send, *wide, *more)
        starts, shown, flat = _sent(send, _from_zero(ends), lengths, tables.reshape(-1), dtype=np.int32)
        paged = self.views(flat.view(tables.shape).unbind(), others[: len(slots)])
        views = paged if self.states is None else self._with_states(paged, self.states, others[len(slots) :])
        batch = Batch(ids, places, rows, tuple(queries), tuple(contexts), starts, shown, views, self.attention)
        return batch, others[len(wide) - 3 :]

    def _with_states(self, paged: Many[PagedView], states: StatePool, rows: list[Tensor]) -> list[Any]:
        """The view of every layer, in their order."""
        sources, targets, fresh = rows[0], rows[1], rows[2].bool()
        pages, recurrent = iter(paged), iter(states.tensors)
        return [
            StateView(next(recurrent), sources, targets, fresh) if isinstance(layer, StateLayer) else next(pages)
            for layer in self._layers
        ]

    def views(self, tables: Many[Tensor], slots: Many[Tensor]) -> Many[PagedView]:
        """The pages of every layer that has such, by a table and slots for each group."""
        return _Views(self.pool, self._group_of, tables, slots)

    @property
    def table_shape(self) -> tuple[int, ...]:
        """Groups of layers, sequences at most, and pages of each at most."""
        return self._tables.shape

    def new_pages(self, sequence: Sequence) -> list[tuple[int, int, int]]:
        """Group, place and page of what changed in the tables of `sequence` since it last ran; noted by that."""
        lease = sequence.lease
        if lease is None or not lease.changed:
            return []
        since = [max(table.written, table.first) for table in lease.tables]
        self._note(lease, sequence.row)
        return [
            (group, place, table.pages[place - table.first])
            for group, (table, first) in enumerate(zip(lease.tables, since, strict=True))
            for place in range(first, table.stop)
        ]

    def tables_of(self, sequences: list[Sequence], width: int) -> NDArray[np.int32]:
        """The pages of `sequences` [groups, sequences, width], after noting what changed since they last ran."""
        for sequence in sequences:
            lease = sequence.lease
            if lease is not None and lease.changed:
                self._note(lease, sequence.row)
        return self._tables[:, [sequence.row for sequence in sequences], :width]

    def _note(self, lease: Lease, row: int) -> None:
        for numbers, table in zip(self._tables, lease.tables, strict=True):
            since = max(table.written, table.first)
            fresh = table.pages[since - table.first :]
            self.pool.claim(fresh)
            numbers[row, since : table.stop] = fresh
            table.written = table.stop
        lease.changed = False

    def _copy(self, numbers: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)


def _is_next_token(chunk: Chunk) -> bool:
    """Whether `chunk` is the latest token of its sequence alone, and only the scores after it are wanted."""
    return chunk.count == 1 and not chunk.guess and chunk.is_last and chunk.sequence.scored_from is None


def _sent(send: Send, *arrays: NDArray[np.integer], dtype: type[np.integer] = np.int64) -> list[Tensor]:
    """One copy of all `arrays`, and the slices of it."""
    packed = np.concatenate(arrays, dtype=dtype, casting="same_kind")
    return list(torch.split(send(packed), [len(array) for array in arrays]))


def _ids(chunks: Many[Chunk]) -> NDArray[np.int64]:
    ids: list[int] = []
    for chunk in chunks:
        if chunk.count == 1:
            ids.append(chunk.sequence.tokens[chunk.start])
        else:
            ids += chunk.tokens
    return np.array(ids, dtype=np.int64)


def _rows(chunks: Many[Chunk], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in the batch the tokens lie whose scores are wanted."""
    rows: list[int] = []
    for chunk, end in zip(chunks, ends.tolist(), strict=True):
        if wanted := chunk.wanted:
            rows += range(end - len(wanted), end)  # always the last ones of a chunk
    return np.array(rows, dtype=np.int64)


def _state_rows(chunks: Many[Chunk]) -> list[NDArray[np.int64]]:
    """Which rows of recurrent state each sequence reads and writes, and whether it begins."""
    leases = [chunk.sequence.lease for chunk in chunks]
    states = [lease.state for lease in leases if lease is not None and lease.state is not None]
    rows = [(state.source or 0, state.target, state.source is None) for state in states]
    return list(np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def _from_zero(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], ends))

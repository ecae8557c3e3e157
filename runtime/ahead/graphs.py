"""Whole steps of which every sequence brings one token, kept as the device's own lists of what to do.

A step reads and writes tensors that stay where they are: tokens, positions, lengths, page tables, odds. The step itself
moves these on, so that the next step of the same sequences needs no copy to the device, but for pages that came new,
and for chance where no kernel makes its own. Rows are filled up to the next of a few sizes; those without a sequence
write to a page that nobody owns. A step of a size and kind is computed call by call the first time, which is when
libraries set themselves up, recorded the second time, and replayed from then on. What cannot be recorded is computed
call by call for ever, and says why.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.contract import Batch
from ...models.ops import gpu
from ...models.ops.cpu.tape import NotRecordable
from ...models.ops.operands import Choosing
from ..drawing import draw_among, pick, weights_of
from ..replay import Unread
from ..runner import Runner
from ..sampler import Chooser
from ..scheduler import Chunk
from .choice import SentOdds
from .device import LateDevice, Work

Numbers: TypeAlias = NDArray[np.int64]

MOST_KEPT: Final = 96
CHANCES: Final = 16  # numbers of chance that a sequence gets at once, once it goes on beside the same others
GRAIN: Final = 8  # rows by which sizes differ; small ones by powers of two
LEAST_PAGES: Final = 16  # that page tables are taken to be wide


class Graph(Protocol):
    """What a device was asked for."""

    def replay(self) -> None:
        """All of it again, on the same addresses."""
        ...


class Recorder(Protocol):
    """Keeps what a device is asked for."""

    def record(self, work: Callable[[], None]) -> Graph:
        """Have `work` done, and keep it. Raises `NotRecordable`."""
        ...

    def forget(self) -> None:
        """Nobody has any of its graphs any more."""
        ...


class CudaRecorder:
    """CUDA graphs, which share one pool of memory: none needs what another left but in tensors that stay."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: torch.cuda.CUDAGraph | None = None

    def forget(self) -> None:
        self._last = None

    def record(self, work: Callable[[], None]) -> Graph:
        graph = torch.cuda.CUDAGraph()
        pool = None if self._last is None else self._last.pool()
        with torch.cuda.device(self._device):
            try:
                with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                    work()
            except RuntimeError as error:
                raise NotRecordable(str(error)) from error
            graph.replay()  # recording does nothing
        self._last = graph
        return graph


class Kind(IntEnum):
    """What choosing takes, from the cheapest on; or one kernel, which looks what each row asks for."""

    LIKELIEST = 0
    DRAWN = 1
    FILTERED = 2
    BY_NOISE = 3


class Key(NamedTuple):
    """Steps of one key are one list of calls: rows, width of page tables, and how tokens are chosen."""

    rows: int
    pages: int
    kind: Kind


class Decodes:
    """The recorded steps of a runner. `recorded` and `replayed` count steps; `refused` says why none is any more."""

    def __init__(self, runner: Runner, recorder: Recorder, sequences: int) -> None:
        self.recorded = self.replayed = 0
        self.refused: str | None = None
        self._runner, self._recorder = runner, recorder
        self._by_noise = gpu.chooses(runner.device)
        self._most = rows_for(sequences)
        self._seen: set[Key] = set()
        self._graphs: OrderedDict[Key, Graph] = OrderedDict()
        self._on: list[int] = []  # the sequences whose rows are on the device, and where each of them is
        self._at: list[int] = []
        self._last: list[Tensor] | None = None
        self._chances = 0
        self._make_room(runner.device)

    def start(
        self,
        chunks: Many[Chunk],
        choosers: Mapping[int, Chooser],
        late: Many[Numbers],
        before: list[Tensor] | None,
        device: LateDevice,
    ) -> tuple[Work, list[Tensor]] | None:
        """A step of `chunks`, and where its tokens will be; None where it is not for recording.

        `late` says which rows' tokens are not known, and where `before` has them: those that the last step chose.
        """
        kind = self._kind([choosers[chunk.sequence.number] for chunk in chunks]) if self._takes(chunks) else None
        if kind is None:
            self.forget()
            return None
        pages = -(-max(chunk.stop for chunk in chunks) // self._page_size)
        key = Key(rows_for(len(chunks)), pages_for(pages, self._tables.shape[2]), kind)
        goes_on = self._goes_on(chunks, before)
        rows = [choosers[chunk.sequence.number] for chunk in chunks]
        changes = self._new_pages(chunks, device) if goes_on else self._all(chunks, rows, key, late, before, device)
        changes += self._new_chances(chunks, rows, key, device, CHANCES if goes_on else 1)
        contexts = (*(chunk.stop for chunk in chunks), *(1,) * (key.rows - len(chunks)))
        tokens = [self._chosen[: len(chunks)]]
        self._on = [chunk.sequence.number for chunk in chunks]
        self._at, self._last = [chunk.stop for chunk in chunks], tokens

        @torch.inference_mode()
        def compute() -> Many[Tensor]:
            for change in changes:
                change()
            self._run(key, contexts)
            return (tokens[0], self._best[: len(chunks)])

        return compute, tokens

    def forget(self) -> None:
        """What is on the device is not what the next step goes on from."""
        self._last = None

    def drop_records(self) -> None:
        """Weights will lie elsewhere: every step is recorded anew."""
        self.forget()
        self._graphs.clear()
        self._seen.clear()
        self._recorder.forget()

    def _make_room(self, device: torch.device) -> None:
        most, (groups, _, width) = self._most, self._runner.table_shape
        self._page_size = self._runner.pool.layout.page_size
        self._ids = torch.zeros(most, dtype=torch.int64, device=device)
        self._positions, self._live, self._limits, self._seeds, self._chosen = (self._ids.clone() for _ in range(5))
        self._lengths = torch.ones(most, dtype=torch.int32, device=device)
        self._tables = torch.zeros(groups, most, width, dtype=torch.int32, device=device)
        self._odds = torch.ones(3, most, dtype=torch.float64, device=device)  # temperature, top-p, min-p
        self._shares = torch.zeros(most, CHANCES, dtype=torch.float64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._best = torch.zeros(most, device=device)
        self._starts = torch.arange(most + 1, dtype=torch.int32, device=device)
        self._rows = torch.arange(most, device=device)

    def _takes(self, chunks: Many[Chunk]) -> bool:
        few = len(chunks) <= self._most and self.refused is None
        return few and all(chunk.count == 1 and chunk.is_last for chunk in chunks)

    def _kind(self, choosers: Many[Chooser]) -> Kind | None:
        if any(one.logprobs is not None or one.typical_p < 1.0 for one in choosers):
            return None
        if self._by_noise:
            return Kind.BY_NOISE
        drawn = [one for one in choosers if one.temperature]
        return Kind.FILTERED if any(one.width for one in drawn) else Kind.DRAWN if drawn else Kind.LIKELIEST

    def _goes_on(self, chunks: Many[Chunk], before: list[Tensor] | None) -> bool:
        """Whether this is the step after the last one: the same sequences, a token further, which the step chose."""
        return (
            before is not None
            and before is self._last
            and all(chunk.sequence.unread for chunk in chunks)
            and [chunk.sequence.number for chunk in chunks] == self._on
            and [chunk.start for chunk in chunks] == self._at
        )

    def _all(
        self,
        chunks: Many[Chunk],
        choosers: Many[Chooser],
        key: Key,
        late: Many[Numbers],
        before: list[Tensor] | None,
        device: LateDevice,
    ) -> list[Callable[[], None]]:
        """Every row anew."""
        count, rows, pages = len(chunks), key.rows, -(-max(chunk.stop for chunk in chunks) // self._page_size)
        wide = np.zeros((5, rows), dtype=np.int64)
        wide[0, :count] = [0 if one.sequence.unread else one.sequence.tokens[one.start] for one in chunks]
        wide[1, :count] = [chunk.start for chunk in chunks]
        wide[2, :count] = 1
        wide[3, :count] = [chooser.top_k for chooser in choosers]
        wide[4, :count] = [chooser.noise() for chooser in choosers]
        odds = np.zeros((3, rows))
        odds[:, :count] = np.array([(one.temperature, one.top_p, one.min_p) for one in choosers]).T
        tables = np.full((len(self._tables), rows, pages), self._runner.pool.dump, dtype=np.int32)
        tables[:, :count] = self._runner.tables_of([chunk.sequence for chunk in chunks], pages)
        lengths = np.ones(rows, dtype=np.int32)
        lengths[:count] = [chunk.stop for chunk in chunks]
        sent = device.send(np.concatenate((wide.reshape(-1), odds.reshape(-1).view(np.int64), *late)))
        shown = device.send(np.concatenate((lengths, tables.reshape(-1))))
        self._chances = 0

        def load() -> None:
            whole = (self._ids, self._positions, self._live, self._limits, self._seeds)
            for place, given in zip(whole, sent[: 5 * rows].view(5, rows), strict=True):
                place[:rows].copy_(given)
            self._odds[:, :rows].copy_(sent[5 * rows : 8 * rows].view(torch.float64).view(3, rows))
            self._lengths[:rows].copy_(shown[:rows])
            self._tables[:, :rows, :pages].copy_(shown[rows:].view(tables.shape))
            if before is not None and len(late[0]):
                where, source = sent[8 * rows :].view(2, -1)
                self._ids.index_copy_(0, where, before[0].index_select(0, source))

        return [load]

    def _new_pages(self, chunks: Many[Chunk], device: LateDevice) -> list[Callable[[], None]]:
        """What page tables do not show yet."""
        _, most, width = self._tables.shape
        fresh = [
            ((group * most + row) * width + place, page)
            for row, chunk in enumerate(chunks)
            for group, place, page in self._runner.new_pages(chunk.sequence)
        ]
        if not fresh:
            return []
        sent = device.send(np.array(fresh, dtype=np.int64).T.reshape(-1)).view(2, -1)
        return [lambda: _put(self._tables.view(-1), sent[0], sent[1].int())]

    def _new_chances(
        self, chunks: Many[Chunk], choosers: Many[Chooser], key: Key, device: LateDevice, count: int
    ) -> list[Callable[[], None]]:
        """Uniform numbers for the next `count` tokens of each row that is drawn, where none are left."""
        if key.kind in (Kind.LIKELIEST, Kind.BY_NOISE):
            return []
        self._chances -= 1
        if self._chances >= 0:
            return []
        self._chances = count - 1
        shares = np.zeros((key.rows, count))
        for row, (chunk, chooser) in enumerate(zip(chunks, choosers, strict=True)):
            if chooser.temperature:
                shares[row] = [chooser.uniform(chunk.stop + further) for further in range(count)]
        sent = device.send(shares.reshape(-1).view(np.int64)).view(torch.float64).view(shares.shape)

        def load() -> None:
            self._shares[: key.rows, :count].copy_(sent)
            self._step.zero_()

        return [load]

    def _run(self, key: Key, contexts: tuple[int, ...]) -> None:
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
            graph.replay()
            self.replayed += 1
        elif key not in self._seen or self.refused is not None or not self._record(key):
            missed = gpu.missed()
            self._compute(key, contexts)
            if gpu.missed() == missed:
                self._seen.add(key)

    def _record(self, key: Key) -> bool:
        """Whether the step was computed, while it was recorded."""
        missed = gpu.missed()
        try:
            self._graphs[key] = self._recorder.record(lambda: self._compute(key, Unread((1,) * key.rows)))
        except NotRecordable as why:
            if gpu.missed() == missed:
                self.refused = str(why)
            return False
        if gpu.missed() != missed:  # computed it was, but by what served in a kernel's place
            del self._graphs[key]
            return True
        self.recorded += 1
        if len(self._graphs) > MOST_KEPT:
            self._graphs.popitem(last=False)
        return True

    def _compute(self, key: Key, contexts: tuple[int, ...]) -> None:
        """One step of all rows, sampling and moving on included, of tensors that stay."""
        rows = key.rows
        positions, ids = self._positions[:rows], self._ids[:rows]
        tables = self._tables[:, :rows, : key.pages]
        numbers = (positions // self._page_size)[None, :, None].expand(len(tables), rows, 1)
        slots = tables.gather(2, numbers)[:, :, 0].long() * self._page_size + positions % self._page_size
        batch = Batch(
            ids=ids,
            positions=positions,
            rows=self._rows[:rows],
            queries=(1,) * rows,
            contexts=contexts,
            starts=self._starts[: rows + 1],
            lengths=self._lengths[:rows],
            cache=self._runner.views(tables.unbind(), slots.unbind()),
            attention=self._runner.attention,
        )
        scores = self._runner.scores(batch)
        if scores is None:
            raise AssertionError("a step of one token a sequence has no scores")
        self._choose(scores, key)
        ids.copy_(self._chosen[:rows])
        positions.add_(self._live[:rows])
        self._lengths[:rows].add_(self._live[:rows])
        self._step.add_(1)

    def _choose(self, scores: Tensor, key: Key) -> None:
        """The tokens of all rows, and their best scores."""
        rows = key.rows
        chosen, best = self._chosen[:rows], self._best[:rows]
        if key.kind is Kind.BY_NOISE:
            heat, top_p, min_p = self._odds[:, :rows].unbind()
            how = Choosing(heat, top_p, min_p, self._limits[:rows], self._seeds[:rows], self._lengths[:rows])
            gpu.choose(scores, how, chosen, best)
            return
        logits = scores.float()
        largest, tokens = logits.max(-1)
        chosen.copy_(tokens if key.kind is Kind.LIKELIEST else self._drawn(logits, tokens, key))
        best.copy_(largest)

    def _drawn(self, logits: Tensor, likeliest: Tensor, key: Key) -> Tensor:
        """By chance where there is a temperature; filtered rows from all that their filters leave, others from all."""
        rows = key.rows
        temperatures, top_p, min_p = self._odds[:, :rows].unbind()
        limits = self._limits[:rows]
        shares = self._shares[:rows].index_select(1, self._step)[:, 0]
        heat = temperatures.masked_fill(temperatures == 0, 1.0)
        odds = SentOdds(torch.stack((heat, shares, top_p, min_p)), limits, is_typical=False)
        weights = weights_of(logits, odds)
        drawn = pick(weights, odds)
        if key.kind is Kind.FILTERED:
            is_filtered = (limits > 0) | (top_p < 1.0) | (min_p > 0.0)
            drawn = torch.where(is_filtered, draw_among(weights, odds, weights.shape[-1])[0], drawn)
        return torch.where(temperatures == 0, likeliest, drawn)


def rows_for(sequences: int) -> int:
    """The size of a step of so many: 1, 2, 4, 8, and then by eights."""
    if sequences <= GRAIN:
        return 1 << (sequences - 1).bit_length()
    return -(-sequences // GRAIN) * GRAIN


def pages_for(pages: int, most: int) -> int:
    """How wide page tables are taken to be where the longest has so many pages: a power of two, or all there is."""
    return min(max(1 << (pages - 1).bit_length(), LEAST_PAGES), most)


def _put(into: Tensor, where: Tensor, what: Tensor) -> None:
    into.index_copy_(0, where, what)

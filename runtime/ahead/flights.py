"""Steps on their way: the next one starts before anybody knows what the last one chose.

The tokens that a step chooses stay on the device, and the next step finds them there. The host reads them one step
late. By then a sequence may have ended, been aborted or rolled back, or given way: what came of it is read over.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...models.ops import gpu
from ..kv.lease import Lease
from ..runner import Runner
from ..sampler import Chooser, Row, Sample, Unsampled
from ..scheduler import Chunk, Scheduler
from ..sequence import Sequence
from .choice import Choice
from .device import LateDevice, Started, Work
from .graphs import Decodes, Numbers


@dataclass(slots=True, eq=False)
class Flight:
    """A step that was started. `tokens` are those that it chose, on the device; `places` says whose is which."""

    chunks: Many[Chunk]
    leases: list[Lease]
    began: float
    choice: Choice
    places: Mapping[int, int]
    started: Started
    tokens: list[Tensor] = field(default_factory=list)  # one, once the device was told to compute them
    called_back: set[int] = field(default_factory=set)

    def wait(self) -> list[Sample | Unsampled | None]:
        """What each chunk came to, None where nothing was chosen. It waits for the device."""
        left = self.started.wait()
        samples = self.choice.read(left) if left else []
        places = [self.places.get(chunk.sequence.number) for chunk in self.chunks]
        return [None if place is None else samples[place] for place in places]


class Flights:
    """Starts steps on `device`, and keeps them until they are read. `count` are those that were started."""

    def __init__(
        self, device: LateDevice, runner: Runner, scheduler: Scheduler, decodes: Decodes | None = None
    ) -> None:
        self.count = 0
        self.decodes = decodes
        self._device, self._runner, self._scheduler = device, runner, scheduler
        self._by_noise = gpu.chooses(runner.device)
        self._open: deque[Flight] = deque()

    def __len__(self) -> int:
        return len(self._open)

    @staticmethod
    def takes(chunk: Chunk, chooser: Chooser | None) -> bool:
        """Whether a step with `chunk` may start before the tokens of the last one were read.

        This is the one place that says what is computed step by step. Grammars, penalties and biases want to see every
        token before the next one is chosen. Scores of a prompt are read where they are computed. A recurrent state is
        kept for others while nothing has written over it. (What guesses ahead is asked by the wheel; faults that are
        injected, and a draft model, rule flights out when the engine is assembled.)
        """
        sequence = chunk.sequence
        if sequence.scored_from is not None or not sequence.chooses or chooser is None:
            return False
        has_state = sequence.lease is not None and sequence.lease.state is not None
        return chooser.guide is None and chooser.changes is None and not has_state

    @torch.inference_mode()
    def start(self, chunks: Many[Chunk], choosers: Mapping[int, Chooser], began: float) -> None:
        """Have `chunks` computed. What raises here leaves everything as it was."""
        choosing = [chunk for chunk in chunks if chunk.is_last]
        rows = [Row(choosers[chunk.sequence.number], chunk.stop) for chunk in choosing]
        choice = Choice(rows, by_noise=self._by_noise)
        places = {chunk.sequence.number: place for place, chunk in enumerate(choosing)}
        late, before = self._late(chunks), self._open[-1].tokens if self._open else None
        recorded = None
        if self.decodes is not None:
            recorded = self.decodes.start(chunks, choosers, late, before, self._device)
        work, tokens = recorded or self._plain(chunks, choice, late, before)
        try:
            started = self._device.start(work)
        except Exception:
            if self.decodes is not None:
                self.decodes.forget()
            raise
        flight = Flight(chunks, [], began, choice, places, started, tokens)
        self._open.append(flight)  # before anything is noted of it: an interrupt may come in between
        flight.leases += [self._scheduler.set_off(chunk) for chunk in chunks]
        self.count += 1

    def _plain(
        self, chunks: Many[Chunk], choice: Choice, late: Many[Numbers], before: list[Tensor] | None
    ) -> tuple[Work, list[Tensor]]:
        """A step computed call by call, and where its tokens will be."""
        batch, sent = self._runner.prepare(chunks, [*late, *choice.numbers], self._device.send)
        tokens: list[Tensor] = []

        @torch.inference_mode()
        def compute() -> Many[Tensor]:
            if before is not None and len(late[0]):
                batch.ids.index_copy_(0, sent[0], before[0].index_select(0, sent[1]))
            logits = self._runner.compute(batch)
            if logits is None:
                return ()
            chosen, left = choice.choose(logits, sent[2:])
            tokens.append(chosen)
            return left

        return compute, tokens

    def wait(self) -> tuple[Flight, list[Sample | Unsampled | None]]:
        """The flight that was started first, and what came of it. It is on its way until it has `landed`."""
        return self._open[0], self._open[0].wait()

    def landed(self) -> None:
        """All that came of the first flight was taken."""
        self._open.popleft()

    def call_back_all(self) -> None:
        """Nothing that is on its way counts: it was broken off somewhere, or the device failed at it."""
        for flight in self._open:
            for chunk in flight.chunks:
                chunk.sequence.call_back()
        self._open.clear()
        if self.decodes is not None:
            self.decodes.forget()

    def call_back(self, sequence: Sequence) -> None:
        """What `sequence` has on its way counts for nothing."""
        sequence.call_back()
        for flight in self._open:
            flight.called_back.add(sequence.number)

    def _late(self, chunks: Many[Chunk]) -> list[Numbers]:
        """Where in the batch tokens stand that are not known yet, and where the last flight has them."""
        ends = np.cumsum([chunk.count for chunk in chunks])
        late = [
            (end - 1, self._open[-1].places[chunk.sequence.number])
            for chunk, end in zip(chunks, ends.tolist(), strict=True)
            if chunk.sequence.unread and chunk.is_last
        ]
        return list(np.array(late, dtype=np.int64).reshape(-1, 2).T)

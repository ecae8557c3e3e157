"""Steps in which every sequence brings one token, or only one some, recorded once for each such step and then replayed.

A recorded step finds its inputs where they were when it was recorded, so each batch is copied there first, or its few
numbers are written there and no batch is made; how long its sequences are, the kernels read from these inputs. What
cannot be recorded runs as it always did, and is counted.
"""

from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.contract import Batch, Model, PagedView, StateView
from ..models.ops.cpu.tape import NotRecordable, Recorder, Tape
from ..models.ops.cpu.workspace import Workspace

MOST_SEQUENCES: Final = 64  # beyond, calls cost little beside what they do
MOST_KEPT: Final = 32

Place: TypeAlias = tuple[str, int | None]  # a field of the batch, or of one of its cache's views


class Unread(tuple[int, ...]):
    """Lengths that a recorded step must read from its inputs."""

    __slots__ = ()

    def __iter__(self) -> NoReturn:
        raise NotRecordable("it reads the sequences' lengths on the host")

    def __getitem__(self, index: Any) -> NoReturn:
        raise NotRecordable("it reads the sequences' lengths on the host")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The numbers that differ between steps of one token for each sequence, where the recording reads them."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int32]
    slots: NDArray[np.int64]
    table: NDArray[np.int32]  # [sequences, most pages of one]


@dataclass(slots=True)
class _Recording:
    """A tape, where its inputs lie, and what it leaves. `own` are its inputs, where there are no others."""

    tape: Tape
    inputs: dict[Place, Tensor]
    scores: Tensor
    own: Inputs | None = None

    def fill(self, batch: Batch) -> None:
        for place, fixed in self.inputs.items():
            given = _at(batch, place)
            (fixed[:, : given.shape[1]] if place[0] == "table" else fixed).copy_(given)


class Replays:
    """The recorded steps of `model` over one pool, whose page tables are at most `width` pages wide.

    `replayed` counts the steps that were; `refused` says why others were not, and how often.
    """

    def __init__(self, model: Model, width: int) -> None:
        self.replayed = 0
        self.refused: dict[str, int] = {}
        self.torch_calls: tuple[str, ...] = ()
        self.timed = False  # whether kernels' times are taken, for `take_times`
        self._model, self._width = model, width
        self._kernels = model.place.kernels
        self._workspace = Workspace()
        self._tables: dict[Place, Tensor] = {}
        self._kept: OrderedDict[tuple[int, ...], _Recording] = OrderedDict()
        self._unable: str | None = None

    def run(self, batch: Batch) -> Tensor | None:
        """Scores of every sequence's next token; None where this batch is not for replaying."""
        if self._kernels is None or not _is_replayed(batch):
            return None
        if self._unable is not None:
            self.refused[self._unable] += 1
            return None
        known = self._kept.get(batch.queries)
        if known is None:
            return self._record(batch)
        known.fill(batch)
        return self._again(known, batch.queries)

    def inputs(self, sequences: int) -> Inputs | None:
        """Where to write what differs, for `again`; None where a step of a token for each sequence is not recorded, or
        is of more than pages of one group.
        """
        known = self._kept.get((1,) * sequences)
        return None if known is None else known.own

    def again(self, sequences: int) -> Tensor:
        """Scores of every sequence's next token, with what was written into `inputs`."""
        queries = (1,) * sequences
        return self._again(self._kept[queries], queries)

    def _again(self, known: _Recording, queries: tuple[int, ...]) -> Tensor:
        assert self._kernels is not None
        known.tape.replay(self._kernels.replay, timed=self.timed)
        self._kept.move_to_end(queries)
        self.replayed += 1
        return known.scores

    def take_times(self) -> dict[str, int]:
        """Nanoseconds of the timed replays by kernel, since this was last asked."""
        times: dict[str, int] = {}
        for recording in self._kept.values():
            for name, nanoseconds in recording.tape.take_times().items():
                times[name] = times.get(name, 0) + nanoseconds
        return times

    def _record(self, batch: Batch) -> Tensor | None:
        """Compute a step, and keep how."""
        inputs = {place: self._fixed(batch, place) for place in _places(batch)}
        recording = _Recording(Tape(), inputs, batch.ids)
        recording.fill(batch)
        try:
            recording.scores = self._compute(recording.tape, _on(batch, inputs))
        except NotRecordable as why:
            self._unable = str(why)
            self.refused[self._unable] = 1
            return None
        recording.tape.close()
        if set(batch.queries) == {1}:
            recording.own = _own(inputs)
        self.torch_calls = tuple(recording.tape.torch_calls)
        self._kept[batch.queries] = recording
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return recording.scores

    def _compute(self, tape: Tape, batch: Batch) -> Tensor:
        assert self._kernels is not None
        with self._kernels.recording(tape), Recorder(tape, self._workspace):
            scores: Tensor = self._model.logits(self._model(batch))
        return self._workspace.lent(scores)

    def _fixed(self, batch: Batch, place: Place) -> Tensor:
        given = _at(batch, place)
        if place[0] != "table":
            return torch.empty_like(given)
        if place not in self._tables:
            self._tables[place] = torch.zeros(MOST_SEQUENCES, self._width, dtype=given.dtype)
        return self._tables[place][: len(given)]


def _own(inputs: dict[Place, Tensor]) -> Inputs | None:
    """`inputs` as arrays; None where there are more. `rows` and `starts` are the same in each such step."""
    found = {field: tensor.numpy() for (field, _), tensor in inputs.items()}
    same = ("rows", "starts")
    if len(found) < len(inputs) or found.keys() != {*same, *(field.name for field in fields(Inputs))}:
        return None
    return Inputs(**{name: array for name, array in found.items() if name not in same})


def _is_replayed(batch: Batch) -> bool:
    """Whether it is a decode: every token's scores are wanted, and each sequence has one, or one sequence has some."""
    count = len(batch.queries)
    tokens = batch.queries[0] if count == 1 else count
    return len(batch.rows) == len(batch.ids) == tokens <= MOST_SEQUENCES


def _at(batch: Batch, place: Place) -> Any:
    field, layer = place
    return getattr(batch if layer is None else batch.cache[layer], field)


def _places(batch: Batch) -> list[Place]:
    """Where the tensors are that differ between steps, each once."""
    seen: set[int] = set()
    places: list[Place] = [(field.name, None) for field in fields(batch) if field.name != "cache"]
    places += [(field, layer) for layer, view in enumerate(batch.cache) for field in _changing(view)]
    found = []
    for place in places:
        value = _at(batch, place)
        if isinstance(value, Tensor) and id(value) not in seen:
            seen.add(id(value))
            found.append(place)
    return found


def _changing(view: PagedView | StateView) -> tuple[str, ...]:
    """The fields that differ between steps; the others are the pool's own."""
    return ("table", "slots") if isinstance(view, PagedView) else ("sources", "targets", "fresh")


def _on(batch: Batch, inputs: dict[Place, Tensor]) -> Batch:
    """The batch with its inputs where the recording has them."""
    fixed = {id(_at(batch, place)): tensor for place, tensor in inputs.items()}
    views = [
        replace(view, **{field: fixed[id(getattr(view, field))] for field in _changing(view)}) for view in batch.cache
    ]
    own: dict[str, Any] = {field: tensor for (field, layer), tensor in inputs.items() if layer is None}
    return replace(batch, **own, contexts=Unread(batch.contexts), cache=views)

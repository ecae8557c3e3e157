"""Pages that cross beside what is computed: however late copies and steps are, each finds what it should."""

from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import Tensor

from unillm.runtime.kv.moves import DirectMoves, Mark, Moves, SideMoves

PAGES, SIZE = 6, 3


class Streams:
    """Two orders of work, done in any order that marks leave open: by chance, one piece after the other."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._computed: list[Piece] = []
        self._copied: list[Piece] = []

    def compute(self, work: Callable[[], None]) -> None:
        self._computed.append(Piece(work, self._computed[-1:]))

    def room(self, pages: int, size: int) -> Tensor:
        return torch.zeros(pages, size, dtype=torch.uint8)

    def copy(self, work: Callable[[], None]) -> Mark:
        self._copied.append(Piece(work, self._copied[-1:] + self._computed[-1:]))
        return self._copied[-1]

    def wait_for(self, mark: Mark) -> None:
        assert isinstance(mark, Piece)
        self._computed.append(Piece(lambda: None, [*self._computed[-1:], mark]))

    def run(self, some: float = 1.0) -> None:
        """As much as chance would have it, or all."""
        while ready := [one for one in self._computed + self._copied if one.is_ready]:
            self._chance.choice(ready).do()
            if self._chance.random() > some:
                return


class Piece:
    def __init__(self, work: Callable[[], None], behind: list["Piece"]) -> None:
        self._work, self._behind = work, behind
        self.seconds: float | None = None

    @property
    def is_ready(self) -> bool:
        return self.seconds is None and all(one.seconds is not None for one in self._behind)

    def do(self) -> None:
        self._work()
        self.seconds = 0.5


@pytest.mark.parametrize("seed", range(40))
def test_what_is_saved_is_what_was_there_and_what_comes_back_is_what_was_saved(seed: int) -> None:
    """Pages are written by steps, saved, given to others that write them anew, and brought back into others still."""
    chance = Random(seed)
    streams = Streams(chance)
    moves = SideMoves(streams)
    memory = torch.zeros(PAGES, SIZE, dtype=torch.uint8)
    holds = [0] * PAGES  # what every page holds once all is done
    seen: list[tuple[int, int]] = []  # what a step found in a page, and should have found
    saved: list[tuple[Tensor, list[int]]] = []
    for value in range(1, 60):
        pages = chance.sample(range(PAGES), chance.randint(1, 3))
        match chance.randrange(4):
            case 0:
                moves.claim(pages)
                streams.compute(lambda pages=pages, value=value: _fill(memory, pages, value))  # type: ignore[misc]
                for page in pages:
                    holds[page] = value
            case 1:
                moves.claim(pages)
                wanted = [holds[page] for page in pages]
                streams.compute(lambda pages=pages, wanted=wanted: _look(memory, pages, wanted, seen))  # type: ignore[misc]
            case 2:
                saved.append((moves.save(memory, pages).data, [holds[page] for page in pages]))
            case 3 if saved:
                data, wanted = chance.choice(saved)
                rows = chance.sample(range(len(data)), min(len(data), len(pages)))
                moves.bring(memory, pages[: len(rows)], data, rows)
                for page, row in zip(pages, rows, strict=False):
                    holds[page] = wanted[row]
        streams.run(some=chance.choice([0.0, 0.5, 0.9]))
    streams.run()
    assert all(found == wanted for found, wanted in seen)
    assert seen
    assert all(data[:, 0].tolist() == wanted for data, wanted in saved)
    assert memory[:, 0].tolist() == holds


def _fill(memory: Tensor, pages: list[int], value: int) -> None:
    memory[pages] = value


def _look(memory: Tensor, pages: list[int], wanted: list[int], seen: list[tuple[int, int]]) -> None:
    seen += zip(memory[pages][:, 0].tolist(), wanted, strict=True)


@pytest.mark.parametrize("moves", [DirectMoves(), SideMoves(Streams(Random(0)))], ids=["direct", "beside"])
def test_neighbours_and_strangers_cross_alike(moves: Moves) -> None:
    def settled() -> None:
        if isinstance(moves, SideMoves):
            moves._lanes.run()  # type: ignore[attr-defined]

    memory = torch.arange(18, dtype=torch.uint8).view(PAGES, SIZE)
    move = moves.save(memory, [4, 1, 2, 0])
    settled()
    assert move.is_done
    assert torch.equal(move.data, memory[[4, 1, 2, 0]])
    moves.bring(memory, [0, 5, 3], move.data, [1, 2, 0])
    settled()
    assert memory[:, 0].tolist() == [3, 3, 6, 12, 12, 6]


def test_who_uses_a_page_waits_for_its_last_copy_once() -> None:
    class Counting(Streams):
        waits = 0

        def wait_for(self, mark: Mark) -> None:
            self.waits += 1
            super().wait_for(mark)

    streams = Counting(Random(0))
    moves, memory = SideMoves(streams), torch.zeros(PAGES, SIZE, dtype=torch.uint8)
    moves.save(memory, [0, 1])
    moves.save(memory, [1, 2])
    moves.claim([4, 5])
    assert streams.waits == 0
    moves.claim([0, 1, 2])
    assert streams.waits == 2
    moves.claim([0, 1, 2])
    assert streams.waits == 2

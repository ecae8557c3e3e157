"""EN-02: whatever happens in whatever order over a pool of eight pages, no page is lost and no token changes.

The naive model of the pool is to have none: what a sequence says must be what the fake model says of its tokens alone,
and the fake model says another thing where any page it reads is not the one that was written for it.
"""

import random
from collections.abc import Callable
from functools import cache

import pytest

from unillm.runtime.assembly import assemble
from unillm.runtime.kv import pool
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser
from unillm.runtime.sequence import Sequence, State
from unillm.runtime.wheel import Wheel
from unillm.tests.runtime.engines import KeepsAll
from unillm.tests.runtime.fakes import FakeModel

PAGES, PAGE = 8, 4
PAGE_BYTES = 2 * 4 * 2 * PAGE  # keys and values in fp32, two layers
LONGEST = PAGES * PAGE
SHARINGS: tuple[Sharing, ...] = ("radix", "hash", "off")
MODEL = FakeModel(vocabulary=40, layers=2)


@cache
def said(prompt: tuple[int, ...]) -> list[int]:
    """All that the model says after `prompt`, without any pages."""
    return MODEL.answer(prompt, LONGEST)


class Events:
    """One wheel, and what may happen to it."""

    def __init__(self, wheel: Wheel, seed: int) -> None:
        self.wheel = wheel
        self.chance = random.Random(seed)
        self.alive: list[Sequence] = []
        self.count = 0
        self.happened: dict[str, int] = {}

    def add(self) -> None:
        if len(self.alive) == 12:
            return
        self.count += 1
        length = self.chance.randint(1, 20)
        prompt = [self.chance.choice([3, 4]) if place < 9 else self.count % 40 for place in range(length)]
        priority = self.chance.choice([0, 0, 0, 1, -3])
        limit = self.chance.randint(length + 1, LONGEST)
        self.alive.append(Sequence(self.count, prompt, limit, priority=priority))
        self.wheel.put(self.alive[-1], Chooser(SamplingParams(temperature=0)))

    def step(self) -> None:
        for outcome in self.wheel.turn():
            assert outcome.error is None

    def abort(self) -> None:
        if one := self._any():
            self.wheel.take_off(one, trusted=False)

    def finish(self) -> None:
        if one := self._any():
            self.wheel.take_off(one)

    def give_way(self) -> None:
        if self.wheel.scheduler.running:
            self.wheel.scheduler._give_way(self.chance.choice(self.wheel.scheduler.running))

    def truncate(self) -> None:
        if one := self._any():
            self.wheel.truncate(one, self.chance.randint(one.num_prompt, len(one.tokens)))

    def damage(self) -> None:
        """One byte of what was copied out of the pool (EN-09)."""
        swap = self.wheel.scheduler.swap
        if swap is not None and (kept := list(swap.sequences)):
            swap._saved[self.chance.choice(kept)].data[0, 3] ^= 1

    def happen(self) -> None:
        """Any of these, mostly steps."""
        events: list[Callable[[], None]] = [self.add, self.abort, self.finish, self.give_way, self.truncate]
        event = self.chance.choices([*events, self.damage, self.step], weights=[8, 1, 1, 2, 2, 1, 20])[0]
        event()
        self.happened[event.__name__] = self.happened.get(event.__name__, 0) + 1
        self.alive = [one for one in self.alive if one.state is not State.FINISHED]

    def check(self) -> None:
        """No page is lost, and everybody said what they would say alone."""
        self.wheel.scheduler.check()
        stats = self.wheel.stats(LONGEST)
        assert stats.free_pages + stats.cached_pages + stats.sequence_pages == PAGES
        for one in self.alive:
            assert one.tokens[one.num_prompt :] == said(tuple(one.tokens[: one.num_prompt]))[: one.num_completion]

    def _any(self) -> Sequence | None:
        return self.chance.choice(self.alive) if self.alive else None


def run(seed: int, events: int) -> Events:
    """With guesses or without, with copies of who gave way or without, by turns."""
    options = EngineOptions(
        kv_memory=PAGES * PAGE_BYTES,
        page_size=PAGE,
        batch_tokens=12,
        sequences=4,
        prefix_cache=SHARINGS[seed % 3],
        draft="ngram" if seed % 5 < 2 else "off",
    )
    drive = Events(assemble(MODEL, options)[0], seed)
    swap = drive.wheel.scheduler.swap
    if swap is not None and seed % 2:
        swap.judge, swap._most = KeepsAll(), PAGES * PAGE_BYTES
    for _ in range(events):
        drive.happen()
        drive.check()
    while drive.wheel.turn():
        drive.check()
    stats = drive.wheel.stats(LONGEST)
    assert (stats.waiting, stats.running, stats.sequence_pages) == (0, 0, 0)
    assert (drive.wheel._choosers, stats.swap_bytes) == ({}, 0)
    MODEL.batches.clear()
    return drive


@pytest.fixture(autouse=True)
def slabs_of_two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SLAB_BYTES", 2 * PAGE_BYTES)


@pytest.mark.parametrize("seed", range(20))
def test_random_events_lose_no_page_and_change_no_token(seed: int) -> None:
    drive = run(seed, 500)
    assert len(drive.happened) == 7
    stats = drive.wheel.stats(LONGEST)
    assert stats.gave_way > 0
    assert stats.swapped_in > 0 or seed % 2 == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 520))
def test_two_thousand_random_events_lose_no_page_and_change_no_token(seed: int) -> None:
    run(seed, 2000)

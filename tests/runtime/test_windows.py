"""Sliding windows: layers that see unequally far, each group with pages of its own, and what left a window is free."""

import random
from itertools import pairwise

import pytest

from unillm.runtime.errors import PoolTooSmall
from unillm.runtime.kv.pages import Lease, PageCache, Sharing
from unillm.runtime.sequence import Sequence, State
from unillm.tests.runtime.driving import Arrivals, scheduler, step, until_idle

SHARINGS: tuple[Sharing, ...] = ("radix", "hash", "off")
WINDOWS: tuple[tuple[int | None, ...], ...] = ((6,), (None, 6), (None, 9, 1), (4, 13), (5, 5, 5))


def held(sequence: Sequence) -> list[int]:
    """How many pages `sequence` has in each group."""
    return [len(table.pages) for table in sequence.lease.tables] if sequence.lease else []


@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_long_conversation_holds_no_more_than_its_window(sharing: Sharing) -> None:
    target = scheduler(pages=8, page_size=4, batch_tokens=32, windows=(10,), sharing=sharing)
    target.add(only := Arrivals()(200, more=200))
    most = max(sum(held(only)) for _ in until_idle(target))
    assert len(only.tokens) == 400
    assert most <= 8
    assert target.gave_way == 0


def test_decoding_takes_the_pages_of_the_window_and_one_more() -> None:
    target = scheduler(pages=64, page_size=4, batch_tokens=32, windows=(None, 10))
    target.add(only := Arrivals()(60, more=100))
    steady = [held(only) for _ in until_idle(target) if only.computed > 64 and only.lease]
    assert {windowed for _, windowed in steady} <= {3, 4}
    assert [full for full, _ in steady] == sorted(full for full, _ in steady)
    assert steady[-1][0] == 40


def test_a_prompt_takes_no_more_of_a_windows_pages_at_once_than_window_and_chunk() -> None:
    target = scheduler(pages=100, page_size=4, batch_tokens=16, windows=(None, 10))
    target.add(only := Arrivals()(300, more=1))
    step(target)
    assert held(only) == [75, 4]
    most = max(held(only)[1] for _ in until_idle(target) if only.lease)
    assert most <= 4 + 16 // 4


def test_what_can_never_fit_is_refused_with_what_windows_leave_room_for() -> None:
    target = scheduler(pages=16, page_size=4, batch_tokens=32, windows=(None, 10))
    target.add(Arrivals()(40, more=9))
    with pytest.raises(PoolTooSmall, match="room for 49 tokens; the cache holds 48"):
        target.add(Arrivals()(40, more=10))
    list(until_idle(target))
    assert not scheduler(pages=3, windows=(10,)).cache.needed(1000) <= 3
    assert scheduler(pages=4, windows=(10,)).cache.needed(10**9) == 4


def test_a_pool_of_one_window_is_enough_for_any_context() -> None:
    target = scheduler(pages=4, page_size=4, batch_tokens=32, windows=(10,))
    arrive = Arrivals()
    for _ in range(3):
        target.add(arrive(100, more=50))
    lengths = [chunk.count for chunks in until_idle(target) for chunk in chunks]
    assert sum(lengths) >= 3 * 149


@pytest.mark.parametrize("sharing", ["radix", "hash"])
def test_a_second_turn_finds_the_first_one(sharing: Sharing) -> None:
    target, arrive = scheduler(pages=64, windows=(None, 10), sharing=sharing), Arrivals()
    target.add(first := arrive(40, more=9, first=5))
    list(until_idle(target))
    target.add(second := Sequence(2, [*first.tokens, *range(20)], limit=80))
    step(target)
    assert second.cached == 48


@pytest.mark.parametrize("sharing", ["radix", "hash"])
def test_chats_with_one_system_prompt_share_it_in_every_group(sharing: Sharing) -> None:
    target = scheduler(pages=400, batch_tokens=64, windows=(None, 10), sharing=sharing)
    for number in range(1, 9):
        target.add(Sequence(number, [*range(40), *range(1000 * number, 1000 * number + 60)], limit=120))
        list(until_idle(target))
    target.add(last := Sequence(9, [*range(40), 7, 7, 7], limit=44))
    step(target)
    assert last.cached == 40


def cache_with(tokens: list[int], windows: tuple[int | None, ...], pages: int = 32) -> tuple[PageCache, Lease]:
    """A prefix of `tokens`, all computed and still held."""
    cache = PageCache(pages, 4, windows=windows)
    lease = cache.lease(tokens, reusable=0)
    assert lease is not None
    for start in range(0, len(tokens), 4):
        assert cache.make_room(lease, start, start + 4) >= start + 4
        cache.commit(lease, tokens, start + 4)
    return cache, lease


def test_a_match_ends_where_every_window_has_its_pages() -> None:
    tokens = list(range(40))
    cache, lease = cache_with(tokens, (None, 9))
    cache.release(lease)
    group = cache.groups[1]
    cache.slabs.give([group.evict()])
    cache.slabs.give([group.evict()])
    found = cache.lease([*tokens[:20], 99], reusable=20)
    assert found is not None
    assert found.shared == 5
    other = cache.lease([*tokens[:15], 99], reusable=15)
    assert other is not None
    assert other.shared == 0
    cache.check([found, other])


def test_what_a_window_left_goes_before_later_prefixes_and_after_earlier_ones() -> None:
    cache = PageCache(18, 4, windows=(None, 5))
    early = cache.lease(list(range(8)), reusable=0)
    assert early is not None
    cache.commit(early, list(range(8)), 8)
    cache.release(early)
    tokens = list(range(100, 124))
    long = cache.lease(tokens, reusable=0)
    assert long is not None
    for start in range(0, 24, 4):
        cache.make_room(long, start, start + 4)
        cache.commit(long, tokens, start + 4)
    assert [len(group.pages) for group in cache.groups] == [8, 8]
    assert len(cache.groups[1].idle) == 2 + 4
    more = cache.lease(list(range(200, 208)), reusable=0)
    assert more is not None
    assert [len(group.pages) for group in cache.groups] == [7, 7]
    taken = cache.make_room(more, 8, 16)
    assert taken == 16
    cache.check([long, more])


def test_prefixes_without_pages_do_not_pile_up() -> None:
    target = scheduler(pages=8, page_size=4, batch_tokens=32, windows=(6,))
    arrive = Arrivals()
    for _ in range(20):
        target.add(arrive(90, more=10))
    list(until_idle(target))
    assert target.cache.prefixes.pages <= 8 * 2 + 25


def test_rolling_back_further_than_a_window_remembers_computes_again() -> None:
    target = scheduler(pages=16, page_size=4, batch_tokens=40, windows=(None, 6))
    target.add(only := Arrivals()(10, more=40))
    while len(only.tokens) < 45:
        step(target)
    target.truncate(only, 44)
    assert only.state is State.RUNNING
    target.truncate(only, 20)
    assert target.waiting.first() is only
    list(until_idle(target))
    assert len(only.tokens) == 50


def test_the_page_table_of_a_window_moves_on() -> None:
    target = scheduler(pages=16, page_size=4, batch_tokens=40, windows=(6,))
    target.add(only := Arrivals()(10, more=40))
    firsts = [only.lease.tables[0].first for _ in until_idle(target) if only.lease]
    assert all(0 <= after - before <= 1 for before, after in pairwise(firsts))
    assert firsts[-1] > 8


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_random_events_never_lose_a_page_of_any_group(
    seed: int, windows: tuple[int | None, ...], sharing: Sharing
) -> None:
    random_events(seed, 200, windows, sharing)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 304))
def test_many_more_random_events_never_lose_a_page_of_any_group(seed: int) -> None:
    random_events(seed, 2000, WINDOWS[seed % 5], SHARINGS[seed % 3])


def random_events(seed: int, events: int, windows: tuple[int | None, ...], sharing: Sharing) -> None:
    """Add, step, abort, give way, roll back at random, over a pool that is too small, with `check` after each event."""
    chance = random.Random(seed)
    pages = 16 + 4 * len(windows)
    target, arrive = scheduler(pages, batch_tokens=11, sequences=4, sharing=sharing, windows=windows), Arrivals()
    longest = min(target.cache.capacity, 100)
    alive: list[Sequence] = []
    for _ in range(events):
        event = chance.random()
        if event < 0.25 and len(alive) < 12:
            prompt = chance.randint(1, longest - 10)
            alive.append(arrive(prompt, chance.randint(1, longest - prompt), first=chance.choice([None, 5, 6])))
            alive[-1].priority = chance.choice([0, 0, 0, 1, -3])
            target.add(alive[-1])
        elif event < 0.3 and alive:
            target.finish(chance.choice(alive), trusted=chance.random() < 0.7)
        elif event < 0.35 and alive:
            one = chance.choice(alive)
            target.truncate(one, chance.randint(one.num_prompt, len(one.tokens)))
        elif event < 0.4 and target.running:
            target._give_way(chance.choice(target.running))
        else:
            step(target, choose=lambda _: chance.randrange(2))
        target.check()
        alive = [sequence for sequence in alive if sequence.state is not State.FINISHED]
    list(until_idle(target))

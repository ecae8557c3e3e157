"""Pages by slabs: when a slab comes, when it goes, and who gives way to whom."""

import random

import pytest

from unillm.runtime.errors import InvalidParameter, NotEnoughMemory
from unillm.runtime.kv.budget import MemoryBudget
from unillm.runtime.kv.pages import PageCache
from unillm.runtime.kv.slabs import Slabs

PAGE = 10  # bytes


class Ground:
    """Notes what there is."""

    def __init__(self) -> None:
        self.there: set[int] = set()

    def commit(self, pages: range) -> None:
        assert not self.there & set(pages)
        self.there |= set(pages)

    def give_back(self, pages: range) -> None:
        assert self.there >= set(pages)
        self.there -= set(pages)


def cache_of(budget: MemoryBudget, most: int = 8, size: int = 2, ground: Ground | None = None) -> PageCache:
    return PageCache(Slabs(most, size, page_bytes=PAGE, budget=budget, ground=ground), 4)


def tokens(first: int, pages: int) -> list[int]:
    return [first, *range(1, 4 * pages)]


def leave_behind(cache: PageCache, first: int, pages: int) -> None:
    """A prefix that nobody holds."""
    lease = cache.lease(tokens(first, pages), reusable=0)
    assert lease is not None
    cache.commit(lease, tokens(first, pages), 4 * pages)
    cache.release(lease)


def knows(cache: PageCache, first: int, pages: int) -> int:
    lease = cache.lease(tokens(first, pages), reusable=4 * pages)
    assert lease is not None
    shared = lease.shared
    cache.release(lease)
    return shared


def test_a_pool_starts_with_one_slab_and_grows_by_one_when_it_must() -> None:
    ground = Ground()
    cache = cache_of(MemoryBudget(80), ground=ground)
    assert ground.there == {0, 1}
    lease = cache.lease(tokens(1, 3), reusable=0)
    assert lease is not None
    assert lease.pages == [0, 1, 2]
    assert (ground.there, cache.slabs.count, cache.held) == ({0, 1, 2, 3}, 2, 40)
    cache.check([lease])


def test_it_grows_before_it_forgets_and_forgets_before_it_asks_others() -> None:
    budget = MemoryBudget(120)
    mine, theirs = cache_of(budget), cache_of(budget)
    leave_behind(theirs, 7, 4)
    leave_behind(mine, 1, 2)
    leave_behind(mine, 2, 4)
    assert (mine.evicted, budget.left) == (0, 20)
    leave_behind(mine, 3, 2)
    assert (mine.evicted, budget.left) == (0, 0)
    leave_behind(mine, 4, 2)
    assert (mine.evicted, theirs.evicted) == (2, 0)
    lease = mine.lease(tokens(5, 8), reusable=0)
    assert lease is not None
    assert (mine.evicted, theirs.evicted, budget.left) == (10, 0, 0)
    mine.check([lease])
    theirs.check([])


def test_others_give_back_first_what_is_empty_then_what_was_used_longest_ago() -> None:
    budget = MemoryBudget(100)
    mine, theirs = cache_of(budget), cache_of(budget)
    big = theirs.lease(tokens(9, 8), reusable=0)
    assert big is not None
    theirs.release(big)
    assert (theirs.held, budget.left) == (80, 0)
    leave_behind(theirs, 1, 2)
    leave_behind(theirs, 2, 2)
    assert knows(theirs, 1, 2) == 2
    held = mine.lease(tokens(5, 6), reusable=0)
    assert held is not None
    assert (theirs.held, theirs.evicted) == (40, 0)
    more = mine.lease(tokens(6, 2), reusable=0)
    assert more is not None
    assert (theirs.held, theirs.evicted) == (20, 2)
    assert (knows(theirs, 1, 2), knows(theirs, 2, 1)) == (2, 0)
    assert mine.lease(tokens(7, 1), reusable=0) is None
    mine.check([held, more])
    theirs.check([])


def test_what_others_hold_is_never_taken() -> None:
    budget = MemoryBudget(80)
    mine, theirs = cache_of(budget), cache_of(budget)
    held = theirs.lease(tokens(1, 6), reusable=0)
    assert held is not None
    assert mine.lease(tokens(2, 3), reusable=0) is None
    theirs.release(held)
    lease = mine.lease(tokens(2, 3), reusable=0)
    assert lease is not None
    mine.check([lease])


def test_who_goes_out_of_use_leaves_its_bytes() -> None:
    budget = MemoryBudget(80)
    cache = cache_of(budget)
    leave_behind(cache, 1, 8)
    assert budget.left == 0
    del cache
    assert budget.left == 80


def test_a_budget_without_room_for_a_first_slab_is_refused_with_the_numbers() -> None:
    budget = MemoryBudget(30)
    first = cache_of(budget)
    with pytest.raises(NotEnoughMemory) as caught:
        cache_of(budget)
    assert "20" in str(caught.value)
    first.check([])
    with pytest.raises(InvalidParameter):
        MemoryBudget(0)


def test_the_last_slab_may_be_smaller() -> None:
    cache = cache_of(MemoryBudget(70), most=7, size=3)
    lease = cache.lease(tokens(1, 7), reusable=0)
    assert lease is not None
    assert (cache.slabs.count, cache.held, cache.available) == (3, 70, 0)
    cache.release(lease)
    assert cache.give_back(1000) == 40
    assert (cache.slabs.count, cache.available) == (1, 7)
    cache.check([])


@pytest.mark.parametrize("seed", range(20))
def test_pages_and_bytes_add_up_whatever_several_caches_do(seed: int) -> None:
    chance = random.Random(seed)
    budget, grounds = MemoryBudget(150), [Ground() for _ in range(3)]
    caches = [cache_of(budget, most=chance.randint(3, 9), size=chance.randint(1, 3), ground=one) for one in grounds]
    held: list[list[object]] = [[] for _ in caches]
    for _ in range(150):
        number = chance.randrange(3)
        cache, leases = caches[number], held[number]
        if leases and chance.random() < 0.5:
            cache.release(leases.pop(chance.randrange(len(leases))))  # type: ignore[arg-type]
        else:
            ids = tokens(chance.randint(1, 4), chance.randint(1, 4))
            lease = cache.lease(ids, reusable=len(ids))
            if lease is not None:
                cache.commit(lease, ids, chance.randint(0, len(ids)))
                leases.append(lease)
        for cache, leases, ground in zip(caches, held, grounds, strict=True):
            cache.check(leases)  # type: ignore[arg-type]
            assert cache.slabs.everything == ground.there
        assert budget.held == PAGE * sum(len(ground.there) for ground in grounds) <= budget.size

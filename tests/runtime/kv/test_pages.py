"""Pages and their owners: leases, sharing, and the sum that always comes out."""

import pytest

from unillm.runtime.kv.pages import Lease, PageCache, Sharing


@pytest.fixture(params=["radix", "hash"])
def sharing(request: pytest.FixtureRequest) -> Sharing:
    found: Sharing = request.param
    return found


def lease(cache: PageCache, tokens: list[int], spare: int = 0) -> Lease:
    found = cache.lease(tokens, reusable=len(tokens) - 1, spare=spare)
    assert found is not None
    return found


def test_a_lease_has_pages_for_all_its_tokens_from_the_start_of_the_pool() -> None:
    cache = PageCache(8, 4)
    assert lease(cache, [0] * 9).pages == [0, 1, 2]
    assert cache.free == 5


def test_there_is_no_lease_without_pages_and_nothing_changes() -> None:
    cache = PageCache(4, 4)
    first = lease(cache, [0] * 12)
    assert cache.lease([1] * 8, reusable=7) is None
    assert cache.lease([1] * 4, reusable=3, spare=1) is None
    cache.check([first])


def test_a_lease_grows_until_the_pool_is_dry() -> None:
    cache = PageCache(2, 4)
    only = lease(cache, [0] * 4)
    assert cache.grow(only)
    assert not cache.grow(only)
    cache.check([only])


def test_what_is_committed_is_shared_and_its_last_token_is_computed_again(sharing: Sharing) -> None:
    cache = PageCache(8, 4, sharing=sharing)
    tokens = list(range(12))
    first = lease(cache, tokens)
    cache.commit(first, tokens, 12)
    assert first.shared == 3
    second = lease(cache, tokens)
    assert second.shared == 2
    assert second.pages[:2] == first.pages[:2]
    assert second.pages[2] not in first.pages
    cache.check([first, second])


def test_two_that_computed_the_same_end_up_with_the_same_pages(sharing: Sharing) -> None:
    cache = PageCache(8, 4, sharing=sharing)
    tokens = list(range(9))
    first, second = lease(cache, tokens), lease(cache, tokens)
    first.tables[0].written = second.tables[0].written = 3
    cache.commit(first, tokens, 8)
    cache.commit(second, tokens, 8)
    assert first.pages[:2] == second.pages[:2]
    assert (first.tables[0].written, second.tables[0].written) == (3, 0)
    assert cache.free == 8 - 4
    cache.check([first, second])


def test_released_pages_stay_found_until_they_are_needed(sharing: Sharing) -> None:
    cache = PageCache(3, 4, sharing=sharing)
    tokens = list(range(9))
    first = lease(cache, tokens)
    cache.commit(first, tokens, 8)
    cache.release(first)
    assert (cache.free, cache.available) == (1, 3)
    again = lease(cache, tokens)
    assert again.shared == 2
    cache.release(again)
    other = lease(cache, [7] * 12)
    assert (other.shared, cache.evicted) == (0, 2)
    cache.check([other])


def test_discarded_pages_are_never_found_again(sharing: Sharing) -> None:
    cache = PageCache(8, 4, sharing=sharing)
    tokens = list(range(9))
    first = lease(cache, tokens)
    cache.commit(first, tokens, 8)
    cache.discard(first)
    assert cache.free == 8
    assert lease(cache, tokens).shared == 0


def test_discarding_spares_what_others_hold(sharing: Sharing) -> None:
    cache = PageCache(8, 4, sharing=sharing)
    tokens = list(range(13))
    first = lease(cache, tokens)
    cache.commit(first, tokens, 8)
    second = lease(cache, tokens[:9])
    cache.commit(first, tokens, 12)
    cache.discard(first)
    cache.check([second])
    assert second.shared == 2
    assert lease(cache, tokens).shared == 2


def test_without_sharing_nothing_is_found_and_everything_comes_back() -> None:
    cache = PageCache(4, 4, sharing="off")
    tokens = list(range(8))
    first = lease(cache, tokens)
    cache.commit(first, tokens, 8)
    cache.release(first)
    assert cache.free == 4
    assert lease(cache, tokens).shared == 0


def test_check_sees_a_page_that_was_lost_and_one_that_has_two_owners() -> None:
    cache = PageCache(4, 4)
    only = lease(cache, [0] * 8)
    lost = only.tables[0].pages.pop()
    only.room = 4
    with pytest.raises(AssertionError, match="3 pages have an owner"):
        cache.check([only])
    only.tables[0].pages += [lost]
    cache.slabs.give([lost])
    with pytest.raises(AssertionError, match="5 pages"):
        cache.check([only])

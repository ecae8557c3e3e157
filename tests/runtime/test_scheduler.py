"""Who runs next: budgets, chunks, fairness, admission, giving way. No model, no tensors."""

import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from unillm.runtime.errors import InvalidParameter, PoolTooSmall
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.scheduler import PATIENCE, Chunk, Scheduler
from unillm.runtime.sequence import Sequence, State
from unillm.tests.runtime.driving import Arrivals, scheduler, step, until_idle


def shape(chunks: list[Chunk]) -> list[tuple[int, int, int]]:
    return [(chunk.sequence.number, chunk.start, chunk.count) for chunk in chunks]


def first_token_steps(target: Scheduler, sequences: list[Sequence]) -> dict[int, int]:
    """The step in which each of `sequences` got its first token."""
    seen: dict[int, int] = {}
    for number, chunks in enumerate(until_idle(target)):
        for chunk in chunks:
            if chunk.sequence.num_completion:
                seen.setdefault(chunk.sequence.number, number)
    return {sequence.number: seen[sequence.number] for sequence in sequences}


def test_the_scheduler_knows_no_tensors() -> None:
    code = "import sys, unillm.runtime.scheduler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_prompt_runs_in_chunks_and_then_a_token_at_a_time() -> None:
    target = scheduler(batch_tokens=10)
    target.add(Arrivals()(25, more=3))
    counts = [[chunk.count for chunk in chunks] for chunks in until_idle(target)]
    assert counts == [[10], [10], [5], [1], [1]]


def test_decodes_and_prompts_share_a_step() -> None:
    target, arrive = scheduler(batch_tokens=10), Arrivals()
    target.add(arrive(3))
    step(target)
    target.add(arrive(30))
    assert shape(step(target)) == [(1, 3, 1), (2, 0, 9)]


def test_no_step_exceeds_its_budget() -> None:
    target, arrive, chance = scheduler(512, batch_tokens=17, sequences=16), Arrivals(), random.Random(3)
    for _ in range(40):
        target.add(arrive(chance.randint(1, 60), chance.randint(1, 20)))
    for chunks in until_idle(target):
        assert sum(chunk.count for chunk in chunks) <= 17
        assert len({chunk.sequence.number for chunk in chunks}) == len(chunks)


def test_only_the_last_chunk_of_a_prompt_wants_scores() -> None:
    target = scheduler(batch_tokens=10)
    target.add(Arrivals()(15, more=1))
    assert [list(chunk.wanted) for chunk in target.next_step()] == [[]]
    step(target)
    assert [list(chunk.wanted) for chunk in target.next_step()] == [[14]]


def test_a_scored_sequence_wants_all_scores_and_chooses_nothing() -> None:
    target = scheduler(batch_tokens=10)
    target.add(Sequence(1, list(range(15)), limit=15, scored_from=3, chooses=False))
    wanted: list[list[int]] = []
    while not target.is_idle:
        wanted.append(list(target.next_step()[0].wanted))
        step(target)
    assert wanted == [list(range(3, 10)), list(range(10, 15))]


def test_scores_are_wanted_once_whoever_gives_way_meanwhile() -> None:
    target = scheduler(batch_tokens=10)
    wanted: list[int] = []
    target.add(only := Sequence(1, list(range(35)), limit=35, scored_from=3, chooses=False))
    while not target.is_idle:
        wanted += target.next_step()[0].wanted
        step(target)
        if len(wanted) == 17:
            target._give_way(only)
            target.check()
    assert target.gave_way == 1
    assert wanted == list(range(3, 35))


def test_short_requests_pass_a_long_one_that_came_before() -> None:
    target, arrive = scheduler(2000, batch_tokens=32, sequences=16), Arrivals()
    long = arrive(1600, more=2)
    shorts = [arrive(16, more=2) for _ in range(10)]
    for sequence in [long, *shorts]:
        target.add(sequence)
    steps = first_token_steps(target, [long, *shorts])
    assert max(steps[short.number] for short in shorts) <= 12
    assert steps[long.number] <= 1600 // 16 + 10


def test_hundred_short_requests_wait_at_most_three_times_as_long_beside_a_long_one() -> None:
    """EN-11."""

    def p95(beside_long: bool) -> int:
        target, arrive = scheduler(4000, batch_tokens=64, sequences=32), Arrivals()
        if beside_long:
            target.add(arrive(8000, more=8))
        shorts = [arrive(20, more=8) for _ in range(100)]
        for sequence in shorts:
            target.add(sequence)
        return sorted(first_token_steps(target, shorts).values())[94]

    assert p95(beside_long=True) <= 3 * p95(beside_long=False)


def test_a_long_request_is_not_starved_by_a_stream_of_short_ones() -> None:
    target, arrive = scheduler(400, batch_tokens=16, sequences=8), Arrivals()
    long = arrive(640, more=1)
    target.add(arrive(4))
    target.add(long)
    steps = 0
    while long.state is not State.FINISHED:
        target.add(arrive(8, more=2))
        step(target)
        steps += 1
        assert steps < 200


def test_equal_requests_are_served_in_the_order_they_came() -> None:
    target, arrive = scheduler(512, batch_tokens=32, sequences=16), Arrivals()
    sequences = [arrive(24, more=1) for _ in range(12)]
    for sequence in sequences:
        target.add(sequence)
    steps = list(first_token_steps(target, sequences).values())
    assert steps == sorted(steps)


def test_one_that_waits_for_pages_is_overtaken_only_so_often() -> None:
    target, arrive = scheduler(16, batch_tokens=32, sequences=8), Arrivals()
    target.add(arrive(20, more=20))
    step(target)
    large = arrive(62, more=2)  # all pages but none to spare: it runs when nobody else does
    target.add(large)
    steps = 0
    while large.state is State.WAITING:
        target.add(arrive(3, more=8))
        step(target)
        steps += 1
        assert steps < 20 * PATIENCE
    assert 0 < large.overtaken <= PATIENCE


def test_nobody_passes_one_whose_patience_is_at_its_end() -> None:
    target, arrive = scheduler(16, batch_tokens=32, sequences=8), Arrivals()
    target.add(arrive(20, more=20))
    step(target)
    large, short = arrive(50, more=4), arrive(3)
    large.overtaken = PATIENCE - 1
    for sequence in (large, short, later := arrive(3)):
        target.add(sequence)
    step(target)
    assert (short.state, later.state) == (State.RUNNING, State.WAITING)


def test_a_higher_priority_goes_first_and_is_kept_longest() -> None:
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=40), Arrivals()
    low, high = arrive(12, more=12), arrive(12, more=12, priority=1)
    target.add(low)
    step(target)
    target.add(high)
    while not target.gave_way:
        step(target)
    assert (low.state, high.state) == (State.WAITING, State.RUNNING)
    list(until_idle(target))
    assert len(low.tokens) == len(high.tokens) == 24


@pytest.mark.parametrize(("pages", "sequences"), [(64, 2), (10, 8)], ids=["rows", "pages"])
def test_an_urgent_request_is_let_in_at_once(pages: int, sequences: int) -> None:
    target, arrive = scheduler(pages, sequences=sequences, batch_tokens=40), Arrivals()
    others = [arrive(15, more=8) for _ in range(2)]
    for sequence in others:
        target.add(sequence)
    step(target)
    target.add(urgent := arrive(20, more=2, priority=5))
    assert shape(step(target))[-1] == (3, 0, 20)
    assert target.gave_way == 1
    list(until_idle(target))
    assert [len(sequence.tokens) for sequence in (*others, urgent)] == [23, 23, 22]


def test_nobody_gives_way_in_vain() -> None:
    target, arrive = scheduler(pages=16, page_size=4, batch_tokens=40), Arrivals()
    target.add(arrive(20, more=8, priority=5))
    target.add(arrive(12, more=8))
    step(target)
    target.add(arrive(50, more=2, priority=5))
    step(target)
    assert target.gave_way == 0
    list(until_idle(target))


def test_no_more_sequences_run_at_once_than_allowed() -> None:
    target, arrive = scheduler(512, batch_tokens=64, sequences=3), Arrivals()
    for _ in range(9):
        target.add(arrive(4))
    assert max(len(target.running) for _ in until_idle(target)) == 3


def test_what_can_never_fit_is_refused_at_once_with_the_numbers() -> None:
    """EN-03."""
    target = scheduler(pages=8, page_size=4)
    target.add(Arrivals()(30, more=3))
    with pytest.raises(PoolTooSmall, match="room for 33 tokens; the cache holds 32"):
        target.add(Arrivals()(30, more=4))


def test_a_budget_that_leaves_prompts_nothing_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="more than the 8 sequences"):
        scheduler(batch_tokens=8, sequences=8)


def test_one_alone_may_fill_the_pool_to_its_last_place() -> None:
    target = scheduler(pages=8, page_size=4)
    only = Arrivals()(5, more=28)
    target.add(only)
    list(until_idle(target))
    assert len(only.tokens) == 33
    assert target.gave_way == 0


def test_when_pages_run_out_the_youngest_gives_way_and_comes_back_before_later_ones() -> None:
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=40), Arrivals()
    eldest, youngest = arrive(12, more=12), arrive(12, more=12)
    target.add(eldest)
    target.add(youngest)
    while not target.gave_way:
        step(target)
    target.add(arrive(20, more=1))
    assert target.waiting.first() is youngest
    assert eldest.state is State.RUNNING
    list(until_idle(target))
    assert len(eldest.tokens) == len(youngest.tokens) == 24
    assert youngest.cached == 0


def test_one_that_gave_way_finds_its_pages_again_when_nobody_took_them() -> None:
    target, arrive = scheduler(pages=9, page_size=4, batch_tokens=40), Arrivals()
    eldest, youngest = arrive(15, more=3), arrive(15, more=12)
    target.add(eldest)
    target.add(youngest)
    again: list[Chunk] = []
    for chunks in until_idle(target):
        if target.gave_way and not again:
            again = [chunk for chunk in chunks if chunk.sequence is youngest]
    assert [chunk.count < 15 for chunk in again] in ([], [True])


def test_a_storm_of_giving_way_still_finishes_everybody() -> None:
    """EN-04."""
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=40, sequences=8), Arrivals()
    sequences = [arrive(4, more=20) for _ in range(6)]
    for sequence in sequences:
        target.add(sequence)
    list(until_idle(target, most=500))
    assert target.gave_way > 0
    assert all(len(sequence.tokens) == 24 for sequence in sequences)


def test_a_second_request_with_the_same_prompt_computes_only_its_last_page() -> None:
    target, arrive = scheduler(), Arrivals()
    target.add(arrive(16, more=1, first=5))
    list(until_idle(target))
    second = arrive(16, more=1, first=5)
    target.add(second)
    assert shape(step(target)) == [(2, 12, 4)]
    assert second.cached == 12


@pytest.mark.parametrize("sharing", ["radix", "hash"])
def test_chats_with_one_system_prompt_hold_a_third_fewer_pages(sharing: Sharing) -> None:
    def most_held(how: Sharing) -> int:
        target = scheduler(2000, page_size=16, batch_tokens=256, sequences=16, sharing=how)
        for number in range(1, 17):
            talk = [*range(5000, 5200), *range(1000 * number, 1000 * number + 30 + number)]
            target.add(Sequence(number, talk, limit=len(talk) + 40))
        held = (target.cache.pages - target.cache.available for _ in until_idle(target))
        return max(held)

    assert most_held(sharing) <= 0.7 * most_held("off")


def test_pages_of_a_chunk_are_shared_while_the_rest_is_still_computed() -> None:
    target, arrive = scheduler(batch_tokens=10), Arrivals()
    target.add(arrive(40, first=5))
    step(target)
    step(target)
    second = arrive(40, first=5)
    target.add(second)
    step(target)
    assert second.cached == 20


@pytest.mark.parametrize("when", ["waiting", "in its prompt", "in its decode", "after giving way", "finished"])
def test_an_abort_returns_pages_in_every_state(when: str) -> None:
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=10), Arrivals()
    other, victim = arrive(12, more=12), arrive(12, more=12)
    target.add(other)
    target.add(victim)
    reached: Callable[[], bool] = {
        "waiting": lambda: victim.state is State.WAITING,
        "in its prompt": lambda: 0 < victim.computed < 12,
        "in its decode": lambda: victim.num_completion > 0,
        "after giving way": lambda: target.gave_way > 0,
        "finished": lambda: victim.state is State.FINISHED,
    }[when]
    while not reached():
        step(target)
    target.finish(victim)
    target.check()
    assert victim.state is State.FINISHED
    assert victim.lease is None
    list(until_idle(target))
    assert target.cache.free + target.cache.prefixes.pages == 8


@pytest.mark.parametrize("tokens", range(10, 31))
def test_a_sequence_is_rolled_back_to_any_length_and_goes_on(tokens: int) -> None:
    target, arrive = scheduler(pages=16, page_size=4, batch_tokens=40), Arrivals()
    target.add(one := arrive(10, more=25))
    target.add(other := arrive(10, more=25))
    while len(one.tokens) < 30:
        step(target)
    target.truncate(one, tokens)
    target.check()
    assert len(one.tokens) == tokens
    list(until_idle(target))
    assert len(one.tokens) == len(other.tokens) == 35
    assert target.cache.free + target.cache.prefixes.pages == 16


def test_a_prompt_is_not_rolled_back() -> None:
    target = scheduler()
    target.add(one := Arrivals()(10))
    with pytest.raises(AssertionError, match="9 tokens are not between"):
        target.truncate(one, 9)


@pytest.mark.parametrize("sharing", ["radix", "hash", "off"])
@pytest.mark.parametrize("seed", range(50))
def test_random_events_never_lose_a_page(seed: int, sharing: Sharing) -> None:
    random_events(seed, 200, sharing)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50, 550))
def test_many_more_random_events_never_lose_a_page(seed: int) -> None:
    random_events(seed, 2000, SHARINGS[seed % 3])


SHARINGS: tuple[Sharing, ...] = ("radix", "hash", "off")


def random_events(seed: int, events: int, sharing: Sharing) -> None:
    """Add, step, abort and finish at random over a pool of 8 pages, with `check` after each event."""
    chance = random.Random(seed)
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=9, sequences=4, sharing=sharing), Arrivals()
    alive: list[Sequence] = []
    for _ in range(events):
        event = chance.random()
        if event < 0.3 and len(alive) < 12:
            prompt = chance.randint(1, 24)
            alive.append(arrive(prompt, chance.randint(1, 32 - prompt), first=chance.choice([None, 5, 6])))
            alive[-1].priority = chance.choice([0, 0, 0, 1, -3])
            target.add(alive[-1])
        elif event < 0.4 and alive:
            target.finish(chance.choice(alive), trusted=chance.random() < 0.7)
        elif event < 0.5 and alive:
            one = chance.choice(alive)
            target.truncate(one, chance.randint(one.num_prompt, len(one.tokens)))
        else:
            step(target, choose=lambda _: chance.randrange(2))
        target.check()
        alive = [sequence for sequence in alive if sequence.state is not State.FINISHED]
    list(until_idle(target))
    assert target.cache.free + target.cache.prefixes.pages == 8
    assert target.cache.prefixes.idle == target.cache.prefixes.pages

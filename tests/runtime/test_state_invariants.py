"""What must not change an answer of a recurrent model: chunks, company, snapshots, giving way, rolling back, errors."""

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Batch, CacheSpec, Model, PagedLayer, StateLayer, StateTensor, StateView
from unillm.runtime.engine import Engine
from unillm.runtime.errors import NotEnoughMemory
from unillm.runtime.kv.pages import PageCache, Sharing
from unillm.runtime.kv.slots import StateRows
from unillm.runtime.options import EngineOptions
from unillm.runtime.scheduler import Scheduler
from unillm.runtime.sequence import Sequence as Tokens
from unillm.runtime.sequence import State
from unillm.tests.runtime.driving import Arrivals, step, until_idle
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.fakes import BUCKETS, FakeModel

SHARINGS: tuple[Sharing, ...] = ("radix", "hash", "off")
STATE_BYTES = 8


class RecurrentFake(FakeModel):
    """Its state is a number that every token changes and no order leaves the same; a `paged` layer may stand beside."""

    def __init__(self, *, hybrid: bool = False) -> None:
        super().__init__(layers=2)
        self.hybrid = hybrid

    def forward(self, batch: Batch) -> Tensor:
        hidden = torch.stack((batch.ids, batch.ids, batch.positions), 1).float()
        view: StateView = batch.cache[0]
        numbers = view.read("number", slice(None))[:, 0]
        for row, count in enumerate(batch.queries):
            number = int(numbers[row])
            for token in range(int(batch.starts[row]), int(batch.starts[row]) + count):
                number = following(number, int(batch.ids[token]))
                hidden[token, 0] = number
            numbers[row] = number
        view.write("number", slice(None), numbers[:, None])
        if self.hybrid:
            self._check_pages(batch)
        return hidden

    def _check_pages(self, batch: Batch) -> None:
        view = batch.cache[1]
        size = view.keys.shape[1]
        view.keys[view.slots // size, view.slots % size, 0, 0] = batch.positions.float()
        for row, context in enumerate(batch.contexts):
            where = torch.arange(context)
            seen = view.keys[view.table[row][where // size].long(), where % size, 0, 0]
            assert torch.equal(seen, where.float())

    def answer(self, prompt: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
        number, tokens = 0, []
        for token in prompt:
            number = following(number, token)
        for _ in range(count):
            tokens.append(int(self.scores[number].argmax()))
            number = following(number, tokens[-1])
        return tokens

    def cache_spec(self) -> CacheSpec:
        state = StateLayer({"number": StateTensor((1,), torch.int64)})
        return CacheSpec((state, PagedLayer(1, 1)) if self.hybrid else (state,))


def following(number: int, token: int) -> int:
    return (31 * number + token + 1) % BUCKETS


def engine_for(model: Model, memory: int, *, page_size: int = 4, **choices: object) -> Engine:
    return Engine(model, options=EngineOptions(kv_memory=memory, page_size=page_size, **choices))  # type: ignore[arg-type]


def prompts(count: int, longest: int, seed: int = 0) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(300) for _ in range(chance.randint(1, longest))] for _ in range(count)]


KINDS = pytest.mark.parametrize("hybrid", [False, True], ids=["recurrent", "hybrid"])


@KINDS
@pytest.mark.parametrize("sharing", SHARINGS)
def test_answers_are_those_without_any_cache_in_chunks_in_company_and_found_again(
    hybrid: bool, sharing: Sharing
) -> None:
    model = RecurrentFake(hybrid=hybrid)
    shared = prompts(1, 90, seed=3)[0] * 3
    asked = [*prompts(5, 150), *([*shared, *tail] for tail in prompts(4, 20, seed=4))]
    wanted = [model.answer(ids, 30) for ids in asked]
    for budget in (9, 500):
        with engine_for(model, 20_000, batch_tokens=budget, sequences=5, prefix_cache=sharing) as engine:
            for _ in range(2):
                assert [list(one.token_ids) for one in engine.generate(asked, greedy(30))] == wanted
            engine.check()
            assert (engine.stats().cached_tokens > 500) == (sharing != "off")


@KINDS
def test_few_rows_are_shared_by_snapshots_and_sequences(hybrid: bool) -> None:
    model = RecurrentFake(hybrid=hybrid)
    asked = prompts(8, 100, seed=7)
    memory = 3000 if hybrid else 4 * STATE_BYTES
    with engine_for(model, memory, batch_tokens=20, sequences=3, context=140) as engine:
        for _ in range(2):
            for ids, done in zip(asked, engine.generate(asked, greedy(30)), strict=True):
                assert list(done.token_ids) == model.answer(ids, 30)
        engine.check()


def test_who_gave_way_goes_on_from_the_deepest_snapshot() -> None:
    model = RecurrentFake(hybrid=True)
    asked = prompts(8, 60, seed=7)
    with engine_for(model, 1400, batch_tokens=20, sequences=5, context=90) as engine:
        for ids, done in zip(asked, engine.generate(asked, greedy(30)), strict=True):
            assert list(done.token_ids) == model.answer(ids, 30)
        assert engine.stats().gave_way > 0
        engine.check()


def test_a_second_turn_resumes_behind_the_first_prompt() -> None:
    target, arrive = scheduler_of(8), Arrivals()
    target.add(first := arrive(30, more=3, first=5))
    list(until_idle(target))
    target.add(second := Tokens(2, [*first.tokens, *range(20)], limit=80))
    step(target)
    assert second.cached == 28


def test_chats_with_one_long_system_prompt_share_it_up_to_a_snapshot() -> None:
    target = scheduler_of(20)
    chats = [Tokens(n, [*range(150), *range(1000 * n, 1000 * n + 20)], limit=180) for n in range(1, 5)]
    for chat in chats:
        target.add(chat)
        list(until_idle(target))
    assert chats[-1].cached == 128


def test_rolling_back_computes_again_from_a_snapshot() -> None:
    target, arrive = scheduler_of(8), Arrivals()
    target.add(only := arrive(30, more=40))
    while len(only.tokens) < 60:
        step(target)
    target.truncate(only, 60)
    assert only.state is State.RUNNING
    target.truncate(only, 50)
    assert target.waiting.first() is only
    step(target)
    assert only.computed >= 28
    list(until_idle(target))
    assert len(only.tokens) == 70


def test_an_error_in_one_sequence_leaves_the_states_of_others_as_they_were() -> None:
    """The step is computed again in halves: every state must still be what it was before."""
    model = RecurrentFake()
    asked = prompts(6, 30, seed=5)
    with engine_for(model, 10_000, batch_tokens=200, sequences=6) as engine:
        ids = [engine.submit(one, greedy(20)) for one in asked]
        engine.step()
        failing = model.forward
        calls = 0

        def fail_sometimes(batch: Batch) -> Tensor:
            nonlocal calls
            hidden = failing(batch)
            calls += 1
            if calls % 3 == 1 and len(batch.queries) > 1:
                raise RuntimeError("after the states were written")
            return hidden

        model.forward = fail_sometimes  # type: ignore[method-assign]
        answers = [list(list(engine.follow(one))[-1].completion.token_ids) for one in ids]  # type: ignore[union-attr]
        assert answers == [model.answer(one, 20) for one in asked]
        assert calls > 20


def test_a_state_that_no_memory_holds_is_refused_with_the_numbers() -> None:
    with pytest.raises(NotEnoughMemory, match="recurrent state"), engine_for(RecurrentFake(), 20) as engine:
        engine.generate([1], greedy(1))


def scheduler_of(rows: int, sharing: Sharing = "radix", windows: tuple[int | None, ...] = ()) -> Scheduler:
    cache = PageCache(16 if windows else 1, 4, windows=windows, sharing=sharing, state_rows=rows)
    return Scheduler(cache, batch_tokens=40, sequences=4)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("windows", [(), (None,), (None, 6), (6,)], ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_random_events_never_lose_a_row(seed: int, windows: tuple[int | None, ...], sharing: Sharing) -> None:
    chance = random.Random(seed)
    target, arrive = scheduler_of(chance.choice([3, 5, 9]), sharing, windows), Arrivals()
    longest = min(target.cache.capacity, 150)
    alive: list[Tokens] = []
    for _ in range(200):
        event = chance.random()
        if event < 0.25 and len(alive) < 12:
            length = chance.randint(1, longest - 10)
            alive.append(arrive(length, chance.randint(1, longest - length), first=chance.choice([None, 5, 6])))
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


def test_a_snapshot_is_a_row_that_nobody_writes_until_it_is_taken_back() -> None:
    rows = StateRows(4, iter(range(100)))
    first = rows.lease(None)
    assert first is not None
    rows.advance(first)
    written = first.source
    rows.snapshot(first, 7)
    rows.advance(first)
    second = rows.lease(7)
    assert second is None
    rows.release(first)
    second = rows.lease(7)
    assert second is not None
    assert (second.source, written in second.own) == (written, False)
    assert rows.lease(7) is None
    rows.check([second])

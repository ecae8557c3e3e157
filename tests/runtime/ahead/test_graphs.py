"""Steps that are recorded and replayed say what steps computed call by call say: beside rows that stand for nothing,
while sequences come and go, whatever they choose by.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from unillm.models.contract import Batch
from unillm.runtime.ahead.graphs import Key, Kind, pages_for, rows_for
from unillm.runtime.engine import Engine
from unillm.runtime.kv.pool import KVPool
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.ahead.kernels import drawing_by_noise
from unillm.tests.runtime.ahead.late import Late, Prompt, late_engine, recorded_engine
from unillm.tests.runtime.ahead.models import DeviceModel
from unillm.tests.runtime.ahead.test_flights import choices, prompts, said
from unillm.tests.runtime.engines import engine_over, greedy, swap_that_keeps_all

DRAWN = [
    SamplingParams(seed=1, max_tokens=40),
    SamplingParams(seed=2, temperature=1.5, top_p=0.9, max_tokens=40),
    SamplingParams(seed=3, top_k=4, max_tokens=40),
    SamplingParams(seed=4, min_p=0.05, max_tokens=40),
    greedy(40),
]


@pytest.fixture
def model() -> DeviceModel:
    return DeviceModel()


@pytest.fixture(params=[Late, pytest.param(Prompt, marks=pytest.mark.slow)])
def device(request: pytest.FixtureRequest) -> Late:
    found: Late = request.param()
    return found


def pool_of(engine: Engine) -> KVPool:
    return engine._desk().look(lambda wheel: wheel.runner.pool)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_replayed_is_computed_call_by_call(model: DeviceModel, device: Late, count: int) -> None:
    asked = prompts(count)
    with engine_over(model) as engine:
        decodes = recorded_engine(engine, device)
        done = engine.generate(asked, greedy(50))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 50) for ids in asked]
        assert decodes.refused is None
        assert decodes.replayed > 30


@pytest.mark.parametrize("how", [DRAWN[:1], DRAWN[1:2], DRAWN], ids=["drawn", "filtered", "mixed"])
def test_by_chance_too_the_same_is_chosen(model: DeviceModel, device: Late, how: list[SamplingParams]) -> None:
    asked = prompts(5, longest=20)
    each = [how[i % len(how)] for i in range(5)]
    with engine_over(model) as engine:
        expected = engine.generate(asked, each)
    with engine_over(model) as engine:
        decodes = recorded_engine(engine, device)
        assert said(engine.generate(asked, each)) == said(expected)
        assert (decodes.refused, decodes.replayed > 20) == (None, True)


def test_while_sequences_come_and_go_every_answer_is_its_own(model: DeviceModel, device: Late) -> None:
    asked = prompts(24, seed=5)
    how = [*choices(3), *(replace(DRAWN[i % 5], max_tokens=10 + 2 * i) for i in range(21))]
    with engine_over(model) as engine:
        expected = engine.generate(asked, how)
    with engine_over(model) as engine:
        decodes = recorded_engine(engine, device)
        for _ in range(3):  # again, with the graphs that there are
            assert said(engine.generate(asked, how)) == said(expected)
        assert decodes.recorded > 3


def test_what_gave_way_is_what_did_not(model: DeviceModel, device: Late) -> None:
    asked = prompts(8, longest=20)
    for keeps in (False, True):
        with engine_over(model, pages=16) as engine:
            decodes = recorded_engine(engine, device)
            swap = swap_that_keeps_all(engine) if keeps else None
            done = engine.generate(asked, greedy(24))
            assert [list(one.token_ids) for one in done] == [model.answer(ids, 24) for ids in asked]
            assert min(engine.stats().gave_way, decodes.replayed) > 0
            assert swap is None or swap.back > 0


def test_an_unchanged_batch_needs_nothing_from_the_host(model: DeviceModel) -> None:
    """But for new pages, one each four tokens here, and for chance, now and then."""
    sent: list[int] = []

    class Counting(Late):
        def send(self, numbers: NDArray[np.integer]) -> Tensor:
            sent.append(len(numbers))
            return super().send(numbers)

    for how, most in ((greedy(64), 64 / 4), (SamplingParams(seed=1, max_tokens=64), 64 / 4 + 64 / 16)):
        with engine_over(model) as engine:
            recorded_engine(engine, Counting())
            engine.generate([1, 2, 3], how)
            assert len(sent) <= most + 8
            sent.clear()


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize("drawn", [DRAWN[3:], pytest.param(DRAWN, marks=pytest.mark.slow)], ids=["two", "all"])
def test_where_a_kernel_draws_a_seed_means_one_text_however_steps_are_computed(drawn: list[SamplingParams]) -> None:
    """Step by step, ahead, and replayed; alone and beside others; with choices that only the host can make."""
    pytest.importorskip("triton")
    model = DeviceModel(vocabulary=40)
    asked = [[token % 40 for token in ids] for ids in prompts(len(drawn) + 1, longest=8)]
    beside = SamplingParams(seed=9, typical_p=0.7, logprobs=1, max_tokens=2)
    how = [*(replace(one, max_tokens=8) for one in drawn), beside]
    with drawing_by_noise() as calls:
        with engine_over(model) as engine:
            expected = engine.generate(asked, how)
            assert said([engine.generate(asked[0], how[0])]) == said(expected[:1])
        with engine_over(model) as engine:
            late_engine(engine)
            assert said(engine.generate(asked, how)) == said(expected)
        with engine_over(model) as engine:
            calls.clear()
            decodes = recorded_engine(engine)
            assert said(engine.generate(asked, how)) == said(expected)
            assert (decodes.refused, decodes.replayed > 2) == (None, True)
            assert rows_for(len(drawn)) in calls


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_where_a_kernel_draws_an_unchanged_batch_needs_new_pages_and_nothing_else() -> None:
    pytest.importorskip("triton")
    sent: list[int] = []

    class Counting(Late):
        def send(self, numbers: NDArray[np.integer]) -> Tensor:
            sent.append(len(numbers))
            return super().send(numbers)

    with drawing_by_noise(), engine_over(DeviceModel(vocabulary=40), page_size=32) as engine:
        decodes = recorded_engine(engine, Counting())
        engine.generate([1, 2, 3], SamplingParams(seed=1, min_p=0.05, max_tokens=16))
        assert decodes.replayed > 10
        assert len(sent) <= 4  # of the prompt two, and two when steps of one token begin


def test_rows_that_stand_for_nothing_write_to_a_page_that_is_nobodys(model: DeviceModel) -> None:
    asked = prompts(3, longest=20)
    with engine_over(model, pages=16) as engine:
        recorded_engine(engine)
        pool = pool_of(engine)
        owned = engine._desk().look(lambda wheel: wheel.scheduler.cache.slabs.everything)
        assert pool.dump not in owned
        pool.bytes[:] = 0
        done = engine.generate(asked, greedy(9))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 9) for ids in asked]
        assert len(pool.keys[0]) == pool.dump + 1
        assert pool.keys[0][pool.dump, 0, 0, 0] != 0  # the fourth row's
        assert not pool.keys[0][pool.dump, 1:].any()


def test_steps_that_read_the_host_are_computed_call_by_call_and_say_why() -> None:
    class Reading(DeviceModel):
        def forward(self, batch: Batch) -> Tensor:
            assert max(batch.contexts) > 0  # as no model should
            return super().forward(batch)

    model = Reading()
    with engine_over(model) as engine:
        decodes = recorded_engine(engine)
        asked = prompts(3)
        done = engine.generate(asked, greedy(12))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 12) for ids in asked]
        assert decodes.refused == "it reads the sequences' lengths on the host"
        assert (decodes.recorded, decodes.replayed) == (0, 0)


def test_scores_that_are_no_numbers_end_their_own_request(model: DeviceModel) -> None:
    asked = prompts(4, longest=12, seed=2)
    model.poison = {model.answer(asked[1], 12)[7]: float("nan")}
    with engine_over(model) as engine:
        expected = engine.generate(asked, greedy(12))
    with engine_over(model) as engine:
        decodes = recorded_engine(engine)
        assert said(engine.generate(asked, greedy(12))) == said(expected)
        assert decodes.replayed > 0


def test_sizes_are_few_and_hold_what_they_are_for() -> None:
    sizes = [rows_for(count) for count in range(1, 257)]
    assert all(size >= count for count, size in enumerate(sizes, 1))
    assert (sizes[:9], len(set(sizes))) == ([1, 2, 4, 4, 8, 8, 8, 8, 16], 35)
    assert [pages_for(count, 100) for count in (1, 16, 17, 33, 65, 100)] == [16, 16, 32, 64, 100, 100]
    assert pages_for(3, 5) == 5
    assert Key(1, 16, Kind.DRAWN) != Key(1, 16, Kind.FILTERED)

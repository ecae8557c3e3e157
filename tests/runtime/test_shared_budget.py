"""Engines that share a budget, pools of many slabs, and the dtypes that pages may have."""

import gc
from threading import Thread

import pytest
import torch

from unillm.runtime.engine import Engine
from unillm.runtime.errors import InvalidParameter
from unillm.runtime.kv.budget import MemoryBudget
from unillm.runtime.options import EngineOptions
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.fakes import FakeModel

PAGE = 64  # bytes of a page of the fake model


@pytest.fixture
def slabs_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.runtime.kv.pool.SLAB_BYTES", 4 * PAGE)


def engine_with(budget: MemoryBudget | None, model: FakeModel, **more: object) -> Engine:
    options = EngineOptions(budget=budget, page_size=4, batch_tokens=32, sequences=4, **more)  # type: ignore[arg-type]
    return Engine(model, options=options)


def prompts(first: int) -> list[list[int]]:
    return [[first + i, *range(2, 14)] for i in range(4)]


@pytest.mark.usefixtures("slabs_of_four")
def test_pressure_of_one_engine_takes_the_idle_prefixes_of_another() -> None:
    model, budget = FakeModel(), MemoryBudget(24 * PAGE)
    with engine_with(budget, model) as first, engine_with(budget, model) as second:
        done = first.generate(prompts(1), greedy(8))
        before = first.stats()
        answers = second.generate(prompts(50), greedy(30))
        again = first.generate(prompts(1), greedy(8))
        assert [one.token_ids for one in done] == [tuple(model.answer(one, 8)) for one in prompts(1)]
        assert [one.token_ids for one in answers] == [tuple(model.answer(one, 30)) for one in prompts(50)]
        assert [one.token_ids for one in again] == [one.token_ids for one in done]
        assert before.evicted_pages == 0 < first.stats().evicted_pages
        assert first.stats().kv_bytes + second.stats().kv_bytes == budget.held <= budget.size
        first.check()
        second.check()
    del first, second
    gc.collect()
    assert budget.held == 0


@pytest.mark.usefixtures("slabs_of_four")
def test_engines_in_two_threads_both_finish() -> None:
    model, budget = FakeModel(), MemoryBudget(16 * PAGE)
    told: dict[int, list[tuple[int, ...]]] = {}
    with engine_with(budget, model) as first, engine_with(budget, FakeModel()) as second:

        def ask(engine: Engine, start: int) -> None:
            told[start] = [tuple(one.token_ids) for one in engine.generate(prompts(start), greedy(20))]

        threads = [Thread(target=ask, args=one, daemon=True) for one in ((first, 1), (second, 50))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for start in (1, 50):
            assert told[start] == [tuple(model.answer(one, 20)) for one in prompts(start)]
        first.check()
        second.check()


@pytest.mark.usefixtures("slabs_of_four")
def test_many_slabs_answer_as_one_and_come_as_they_are_needed() -> None:
    model = FakeModel()
    with engine_with(None, model, kv_memory=64 * PAGE) as engine:
        assert (engine.stats().slabs, engine.stats().kv_bytes) == (1, 4 * PAGE)
        answers = engine.generate(prompts(1), greedy(20))
        assert [tuple(one.token_ids) for one in answers] == [tuple(model.answer(one, 20)) for one in prompts(1)]
        assert engine.stats().slabs > 4


def test_a_dtype_that_pages_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match="int8"):
        engine_with(None, FakeModel(), kv_memory=64 * PAGE, kv_dtype="int4")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("auto", torch.float32), ("bf16", torch.bfloat16), ("int8", torch.int8), ("fp8", torch.float8_e4m3fn)],
)
def test_pages_have_the_dtype_that_was_asked_for(name: str, dtype: torch.dtype) -> None:
    with engine_with(None, FakeModel(), kv_memory=64 * PAGE, kv_dtype=name) as engine:
        assert engine.stats().kv_dtype == str(dtype).removeprefix("torch.")

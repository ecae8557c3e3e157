"""Who gives way and gets its pages back from a copy goes on as if nothing had happened, bit for bit."""

import logging
from pathlib import Path

import pytest
import torch

from unillm.models.contract import Model
from unillm.runtime.device import KV_DTYPES
from unillm.runtime.engine import Engine
from unillm.runtime.kv.moves import Done, Move
from unillm.runtime.kv.pages import PageCache
from unillm.runtime.kv.pool import PageLayout
from unillm.runtime.kv.swap import Measured, Swap
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.runtime.scheduler import Scheduler
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, EXACT, prompt, reference, save
from unillm.tests.runtime.driving import Arrivals, until_idle
from unillm.tests.runtime.engines import engine_over
from unillm.tests.runtime.fakes import FakeModel

SAMPLED = SamplingParams(max_tokens=30, temperature=0.9, seed=11, logprobs=3)


class Always(Measured):
    """Keeps whatever there is room for."""

    def keeps(self, size: int, tokens: int) -> bool:
        return size > 0 and tokens > 0


class Never(Measured):
    def keeps(self, size: int, tokens: int) -> bool:
        return False


def judge_by(engine: Engine, judge: Measured) -> Swap:
    swap = engine._desk().look(lambda wheel: wheel.scheduler.swap)
    assert swap is not None
    swap.judge = judge
    return swap


def told(completions: list[Completion]) -> list[object]:
    return [(done.token_ids, done.logprobs, done.finish_reason) for done in completions]


@pytest.mark.parametrize("sharing", ["radix", "hash", "off"])
def test_swapped_is_as_not_swapped_greedy_and_by_seed(sharing: str) -> None:
    model = FakeModel()
    prompts = [[10 * i + 1, *range(2, 14)] for i in range(6)]
    params = [SAMPLED if i % 2 else SamplingParams(max_tokens=30, temperature=0, logprobs=2) for i in range(6)]
    with engine_over(model, pages=200) as ample:
        wanted = told(ample.generate(prompts, params))
        assert ample.stats().gave_way == 0
    for judge in (Always(), Never()):
        with engine_over(model, pages=24, prefix_cache=sharing) as engine:
            judge_by(engine, judge)
            assert told(engine.generate(prompts, params)) == wanted
            stats = engine.stats()
            assert stats.gave_way > 0
            assert (stats.swapped_out > 0, stats.swapped_in > 0) == (isinstance(judge, Always),) * 2
            assert stats.swap_bytes == 0


def test_what_came_back_was_not_computed_again() -> None:
    prompts = [[10 * i + 1, *range(2, 14)] for i in range(6)]
    computed = []
    for judge in (Always(), Never()):
        model = FakeModel()
        with engine_over(model, pages=24, prefix_cache="off") as engine:
            judge_by(engine, judge)
            engine.generate(prompts, SamplingParams(max_tokens=30, temperature=0))
        computed.append(sum(len(batch.ids) for batch in model.batches))
    assert computed[0] < computed[1]


def test_a_damaged_copy_is_computed_again_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel()
    prompts = [[10 * i + 1, *range(2, 14)] for i in range(6)]
    with engine_over(model, pages=24, prefix_cache="off") as engine:
        swap = judge_by(engine, Always())
        ids = [engine.submit(one, SamplingParams(max_tokens=30, temperature=0)) for one in prompts]
        while not swap.held:
            assert engine.step()
        for number in list(swap.sequences):
            swap._saved[number].data[0, 3] ^= 1
        with caplog.at_level(logging.WARNING):
            answers: dict[str, list[int]] = {one: [] for one in ids}
            for update in engine.follow(*ids):
                answers[update.id] += update.token_ids
        assert list(answers.values()) == [model.answer(one, 30) for one in prompts]
        assert swap.broken > 0
        assert "damaged" in caplog.text


def test_who_is_aborted_leaves_no_copy() -> None:
    with engine_over(FakeModel(), pages=24) as engine:
        swap = judge_by(engine, Always())
        ids = [engine.submit([10 * i + 1, *range(2, 14)], SamplingParams(max_tokens=30)) for i in range(6)]
        while not swap.held:
            assert engine.step()
        for one in ids:
            engine.abort(one)
        assert (swap.held, list(swap.sequences)) == (0, [])


def test_no_more_is_kept_than_may_be() -> None:
    with engine_over(FakeModel(), pages=24) as engine:
        swap = judge_by(engine, Always())
        ids = [engine.submit([10 * i + 1, *range(2, 14)], SamplingParams(max_tokens=30)) for i in range(6)]
        most = 0
        while engine.step():
            most = max(most, swap.held)
        assert 0 < most <= 24 * 64 // 4
        assert all(len(list(engine.follow(one))) for one in ids)


class NoPages:
    """A pool without contents."""

    page_bytes = 8

    def save(self, pages: list[int]) -> Move:
        return Move(torch.zeros(len(pages), 8, dtype=torch.uint8), Done(0.1))

    def bring(self, pages: list[int], saved: torch.Tensor, rows: list[int]) -> Move:
        assert len(pages) == len(rows)
        assert max(rows, default=0) < len(saved)
        return Move(saved, Done(0.1))


@pytest.mark.parametrize("windows", [(None,), (None, 9), (9, 9, None), (6,)], ids=str)
@pytest.mark.parametrize("sharing", ["radix", "off"])
def test_groups_with_windows_come_back_whole(windows: tuple[int | None, ...], sharing: str) -> None:
    cache = PageCache(9 * len(windows), 4, windows=windows, sharing=sharing)  # type: ignore[arg-type]
    swap = Swap(NoPages(), 4, 10_000, Always())  # type: ignore[arg-type]
    target = Scheduler(cache, batch_tokens=16, sequences=6, swap=swap)
    arrivals = Arrivals()
    everyone = [arrivals(10, 12) for _ in range(6)]
    for sequence in everyone:
        target.add(sequence)
    for _ in until_idle(target):
        assert set(swap.sequences).isdisjoint(one.number for one in target.running)
    assert all(len(one.tokens) == 22 for one in everyone)
    assert swap.out >= swap.back > 0 or not target.gave_way
    assert not swap.held


def test_the_cheaper_way_is_taken() -> None:
    judge = Measured()
    assert not judge.keeps(1000, 10)
    judge.copied(10**9, 1.0)
    judge.computed(1000, 1.0)
    assert judge.keeps(10**6, 10)  # 2 ms against 10 ms
    assert not judge.keeps(10**7, 10)  # 20 ms


@pytest.mark.parametrize("kv_dtype", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["llama3", "mistral0.1"])
def test_real_pages_come_back_as_they_were(name: str, kv_dtype: str, tmp_path: Path) -> None:
    if EXACT.kernels is None:
        pytest.skip("the CPU kernels are not built here")
    model = load_model(save(reference(BY_NAME[name]), tmp_path), EXACT)
    asked = [prompt(BY_NAME[name], 9 + seed, seed) for seed in range(6)]
    params = SamplingParams(max_tokens=40, temperature=0.8, seed=3, logprobs=2)
    answers = []
    for pages in (400, 14):
        with engine_with(model, kv_dtype, pages) as engine:
            judge_by(engine, Always())._most = 1 << 30
            answers.append(told(engine.generate(asked, params)))
            stats = engine.stats()
            assert (stats.swapped_in > 0) == (pages == 14)
            engine.check()
    assert answers[0] == answers[1]


def engine_with(model: Model, kv_dtype: str, pages: int) -> Engine:
    layout = PageLayout.of(model.cache_spec(), 8, KV_DTYPES[kv_dtype])
    options = EngineOptions(
        kv_memory=layout.page_bytes * pages,
        kv_dtype=kv_dtype,
        page_size=8,
        batch_tokens=64,
        sequences=8,
        draft="off",
    )
    return Engine(model, options=options)

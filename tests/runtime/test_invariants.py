"""What must not change an answer: chunks, company, the prefix cache, giving way, the order of steps.

Over the fake model every token must be equal; over real ones the scores, within what fp32 leaves.
"""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Model, Placement
from unillm.runtime.engine import Engine
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, EXACT, PLACE, TOLERANCE, expected, prompt, reference, save
from unillm.tests.runtime.engines import engine_over, greedy, make_engine
from unillm.tests.runtime.events import Events
from unillm.tests.runtime.fakes import FakeModel

CHOICES = [
    greedy(20),
    SamplingParams(seed=1, max_tokens=25),
    SamplingParams(seed=2, temperature=1.5, top_p=0.9, max_tokens=15),
    SamplingParams(seed=3, top_k=4, repetition_penalty=1.3, max_tokens=30),
    SamplingParams(seed=4, min_p=0.05, max_tokens=9),
    SamplingParams(seed=5, typical_p=0.7, presence_penalty=0.8, max_tokens=20),
    SamplingParams(seed=6, frequency_penalty=1.5, logit_bias={9: 6.0, 11: -4}, prompt_logprobs=0, max_tokens=20),
]


def prompts(count: int = 10, longest: int = 60, vocabulary: int = 300, seed: int = 0) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(vocabulary) for _ in range(chance.randint(1, longest))] for _ in range(count)]


def params(count: int) -> list[SamplingParams]:
    return [CHOICES[i % len(CHOICES)] for i in range(count)]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


def alone(model: FakeModel, asked: list[list[int]]) -> list[tuple[int, ...]]:
    """Each prompt by itself in a fresh engine with room and budget for everything."""
    answers = []
    for ids, how in zip(asked, params(len(asked)), strict=True):
        with engine_over(model, batch_tokens=2000, pages=2000) as engine:
            answers.append(engine.generate(ids, how).token_ids)
    return answers


def test_chunked_is_whole_and_batched_is_alone(model: FakeModel) -> None:
    asked = prompts()
    for budget in (9, 16, 33, 2000):
        with engine_over(model, batch_tokens=budget) as engine:
            done = engine.generate(asked, params(len(asked)))
            assert [one.token_ids for one in done] == alone(model, asked)


def test_greedy_is_what_the_model_would_say_without_any_cache(model: FakeModel) -> None:
    asked = prompts(6)
    with engine_over(model, batch_tokens=16) as engine:
        done = engine.generate(asked, greedy(40))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 40) for ids in asked]


def test_a_prefix_hit_is_cold(model: FakeModel) -> None:
    shared = prompts(1, seed=9)[0] * 2
    asked = [shared + tail for tail in prompts(8, longest=10, seed=10)]
    with engine_over(model) as engine:
        engine.generate(shared, greedy(1))
        done = engine.generate(asked, params(len(asked)))
        assert [one.token_ids for one in done] == alone(model, asked)
        unread = [one for one in done if one.prompt_logprobs is None]
        assert len(unread) > 6
        assert all(one.usage.cached_tokens >= len(shared) // 4 * 4 for one in unread)


def test_what_gave_way_is_what_did_not(model: FakeModel) -> None:
    asked = prompts(8, longest=20)
    with engine_over(model, pages=16) as engine:
        done = engine.generate(asked, params(len(asked)))
        assert engine.stats().gave_way > 0
        assert [one.token_ids for one in done] == alone(model, asked)


def test_who_gave_way_to_a_higher_priority_answers_the_same(model: FakeModel) -> None:
    asked = prompts(8, longest=20)
    with engine_over(model, pages=16, sequences=4) as engine:
        ids = []
        for index, (one, how) in enumerate(zip(asked, params(8), strict=True)):
            ids.append(engine.submit(one, how, priority=index))
            engine.step()
        answers = [update.completion for id_ in ids for update in engine.follow(id_) if update.completion]
        assert [one.token_ids for one in answers] == alone(model, asked)
        assert engine.stats().gave_way > 2


def test_one_long_and_a_hundred_short_requests_all_end_and_end_right(model: FakeModel) -> None:
    asked = [prompts(1, seed=8)[0] * 6, *prompts(100, longest=8, seed=9)]
    with engine_over(model, pages=400, batch_tokens=32, sequences=16) as engine:
        done = engine.generate(asked, greedy(8))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 8) for ids in asked]


@pytest.mark.parametrize("prefix_cache", ["radix", "hash"])
def test_a_crowd_is_answered_alike_by_either_prefix_cache(model: FakeModel, prefix_cache: Sharing) -> None:
    asked = [[*range(20), *tail] for tail in prompts(12, longest=12)]
    with engine_over(model, pages=24, prefix_cache=prefix_cache) as engine:
        done = engine.generate(asked, params(len(asked)))
        assert [one.token_ids for one in done] == alone(model, asked)
        stats = engine.stats()
        assert min(stats.gave_way, stats.evicted_pages, stats.cached_tokens) > 0


def test_without_a_prefix_cache_answers_are_the_same_and_nothing_stays(model: FakeModel) -> None:
    asked = prompts(8, longest=20)
    with engine_over(model, pages=16, prefix_cache="off") as engine:
        done = engine.generate(asked, params(len(asked)))
        assert [one.token_ids for one in done] == alone(model, asked)
        assert engine.stats().free_pages == 16


def test_streams_that_start_in_the_midst_of_others_are_alone(model: FakeModel) -> None:
    asked = prompts(8)
    with engine_over(model, batch_tokens=16) as engine:
        streams = [engine.stream(asked[0], params(8)[0])]
        answers: list[list[int]] = [[] for _ in asked]
        for index in range(1, 8):
            for _ in range(3):
                answers[0] += next(streams[0]).token_ids if len(answers[0]) < 20 else ()
            streams.append(engine.stream(asked[index], params(8)[index]))
        for index, stream in enumerate(streams):
            answers[index] += [token for update in stream for token in update.token_ids]
        assert [tuple(answer) for answer in answers] == alone(model, asked)


@pytest.mark.parametrize("seed", range(12))
def test_random_events_over_a_pool_of_eight_pages(model: FakeModel, seed: int) -> None:
    random_events(model, seed, 150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 112))
def test_many_more_random_events(model: FakeModel, seed: int) -> None:
    random_events(model, seed, 2000)


def random_events(model: FakeModel, seed: int, events: int) -> None:
    with engine_over(model, pages=8, batch_tokens=12, sequences=4) as engine:
        Events(engine, model, random.Random(seed), priorities=[0]).happen(events)


ROWS = [
    "llama3.2",
    "mistral0.1",
    "qwen3",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "bloom", "olmo2")),
]


@pytest.fixture(scope="module", params=[PLACE, EXACT], ids=["plain", "kernels"])
def place(request: pytest.FixtureRequest) -> Placement:
    found: Placement = request.param
    if found is EXACT and found.kernels is None:
        pytest.skip("no CPU kernels here")
    return found


@pytest.fixture(scope="module", params=ROWS)
def real(
    request: pytest.FixtureRequest, place: Placement, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Model]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    files = save(reference(BY_NAME[request.param]), folder)
    return request.param, load_model(files, place)


def engine_of(model: Model, *, batch_tokens: int = 512, kv_memory: int = 1 << 24, page_size: int = 8) -> Engine:
    options = EngineOptions(batch_tokens=batch_tokens, sequences=8, kv_memory=kv_memory, page_size=page_size)
    return Engine(model, options=options)


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())


def test_scores_are_the_references_however_the_prompt_is_cut(real: tuple[str, Model]) -> None:
    name, model = real
    ids = prompt(BY_NAME[name])
    scores = expected(reference(BY_NAME[name]), ids)
    for budget in (9, 24, 512):
        with engine_of(model, batch_tokens=budget) as engine:
            assert close(engine.logits(ids), scores)
            assert close(engine.logits(ids, start=50), scores[50:])
            assert engine.stats().cached_tokens == 48
            engine.check()


def test_scores_beside_others_are_those_alone(real: tuple[str, Model]) -> None:
    name, model = real
    ids = prompt(BY_NAME[name])
    with engine_of(model, batch_tokens=24) as engine:
        others = [engine.submit(prompt(BY_NAME[name], 40, seed), greedy(60)) for seed in range(5)]
        for _ in range(6):
            engine.step()
        assert close(engine.logits(ids), expected(reference(BY_NAME[name]), ids))
        assert all(len(list(engine.follow(other))) == 60 for other in others)


def test_generation_follows_the_scores_with_hits_chunks_company_and_giving_way(real: tuple[str, Model]) -> None:
    name, model = real
    asked = [prompt(BY_NAME[name], 20 + 3 * seed, seed) for seed in range(6)]
    layer = model.cache_spec().paged[0]
    page = 2 * 4 * 8 * layer.kv_heads * layer.head_dim * len(model.cache_spec().layers)
    pages = 16 if layer.window is None else 7  # where windows move on, more would be enough for all
    with engine_of(model, batch_tokens=20, kv_memory=pages * page) as engine:
        for _ in range(2):
            for done, ids in zip(engine.generate(asked, greedy(32)), asked, strict=True):
                everything = [*ids, *done.token_ids]
                scores = expected(reference(BY_NAME[name]), everything)[len(ids) - 1 : -1]
                best = scores.topk(2)
                clear = best.values[:, 0] - best.values[:, 1] > 2 * TOLERANCE * scores.abs().max()
                assert torch.equal(torch.tensor(done.token_ids)[clear], best.indices[clear, 0])
                assert clear.float().mean() > 0.8
        windowed = getattr(layer, "window", None) is not None  # who sees no further holds no more, and need not yield
        assert engine.stats().gave_way > 0 or windowed
        engine.check()


def test_the_models_own_loop_says_the_same(real: tuple[str, Model]) -> None:
    name, model = real
    ids = prompt(BY_NAME[name], 30)
    with engine_of(model) as engine:
        assert list(engine.generate(ids, greedy(20)).token_ids) == model.generate(ids, 20)


def test_the_engine_over_the_fake_is_not_blind(model: FakeModel) -> None:
    """One page exchanged under a running sequence, and the answer is another one."""
    with make_engine(model) as engine:
        request = engine.submit(list(range(1, 30)), greedy(20))
        engine.step()
        desk = engine._open_desk
        assert desk is not None
        keys = desk._wheel.runner.pool.keys[-1]
        keys[[0, 1]] = keys[[1, 0]]
        tokens = [token for update in engine.follow(request) for token in update.token_ids]
        assert tokens != model.answer(list(range(1, 30)), 20)

"""Steps that start before the last one was read say what steps one after the other say: the device answers as late as
may be, and nothing is read before it is waited for.
"""

import random
from pathlib import Path

import pytest
from torch import Tensor

from unillm.runtime.engine import Engine
from unillm.runtime.errors import NonFiniteLogits
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, PLACE, prompt, reference, save
from unillm.tests.runtime.ahead.late import Late, Prompt, ReadTooEarly, late_engine, nothing_read, recorded_engine
from unillm.tests.runtime.ahead.models import DeviceModel
from unillm.tests.runtime.engines import engine_over, greedy, swap_that_keeps_all
from unillm.tests.runtime.events import Events
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

CHOICES = [
    greedy(20),
    SamplingParams(seed=1, max_tokens=25),
    SamplingParams(seed=2, temperature=1.5, top_p=0.9, max_tokens=15),
    SamplingParams(seed=3, top_k=4, max_tokens=30),
    SamplingParams(seed=4, min_p=0.05, max_tokens=9),
    SamplingParams(seed=5, typical_p=0.7, max_tokens=20),
    SamplingParams(seed=6, top_k=100, typical_p=0.9, max_tokens=1),
    SamplingParams(seed=7, logprobs=3, max_tokens=12),
    SamplingParams(temperature=0, logprobs=0, max_tokens=2),
]


def prompts(count: int, longest: int = 60, seed: int = 0) -> list[list[int]]:
    chance = random.Random(seed)
    return [[chance.randrange(300) for _ in range(chance.randint(1, longest))] for _ in range(count)]


def choices(count: int) -> list[SamplingParams]:
    return [CHOICES[i % len(CHOICES)] for i in range(count)]


def said(done: list[Completion]) -> list[tuple[object, ...]]:
    return [(one.token_ids, one.finish_reason, one.logprobs, one.text) for one in done]


@pytest.fixture
def model() -> DeviceModel:
    return DeviceModel()


@pytest.fixture(params=[Late, Prompt])
def device(request: pytest.FixtureRequest) -> Late:
    found: Late = request.param()
    return found


def test_the_model_of_tensors_is_the_fake_one(model: DeviceModel) -> None:
    asked = prompts(6)
    with engine_over(model, batch_tokens=16) as engine:
        done = engine.generate(asked, greedy(20))
        assert [list(one.token_ids) for one in done] == [FakeModel().answer(ids, 20) for ids in asked]


def test_whoever_reads_too_early_is_caught() -> None:
    with engine_over(FakeModel()) as engine:  # which reads its batch on the host
        late_engine(engine)
        assert isinstance(engine.generate([1, 2, 3], greedy(3)).error, ReadTooEarly)
    with nothing_read(), pytest.raises(ReadTooEarly):
        DeviceModel().scores[0, 0].item()


@pytest.mark.parametrize("budget", [9, 33, 2000])
def test_overlapped_is_synchronous(model: DeviceModel, device: Late, budget: int) -> None:
    asked, how = prompts(18), choices(18)
    with engine_over(model, batch_tokens=budget) as engine:
        expected = engine.generate(asked, how)
    with engine_over(model, batch_tokens=budget) as engine:
        late_engine(engine, device)
        assert said(engine.generate(asked, how)) == said(expected)
        assert device.ahead > 20 or isinstance(device, Prompt)
        assert device.waits > 20


def test_the_extra_token_of_who_ended_is_nobodys(model: DeviceModel, device: Late) -> None:
    """By an end token, a stop string, the length: and the cache keeps no more than it would otherwise."""
    asked = prompts(9, longest=20, seed=3)
    tokenizer = ByteTokenizer()
    ends = [model.answer(ids, 30)[4 + i] for i, ids in enumerate(asked)]
    how = [
        SamplingParams(temperature=0, max_tokens=30, stop_token_ids=(end,))
        if i % 2
        else SamplingParams(temperature=0, max_tokens=5 + i)
        for i, end in enumerate(ends)
    ]

    def run(late: bool) -> tuple[list[tuple[object, ...]], int, int]:
        with engine_over(model, tokenizer=tokenizer) as engine:
            if late:
                late_engine(engine, device)
            done = engine.generate(asked, how)
            stats = engine.stats()
            return said(done), stats.completion_tokens, stats.cached_pages

    assert run(late=True) == run(late=False)


def test_a_stop_string_ends_an_answer_though_the_next_token_is_on_its_way(model: DeviceModel, device: Late) -> None:
    model.script = list(b"hello world, and so on")
    params = SamplingParams(temperature=0, max_tokens=20, stop=("lo w",))
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        late_engine(engine, device)
        done = engine.generate([[1, 2], [3, 4]], params)
        assert [one.text for one in done] == ["hel", "hel"]
        assert [one.finish_reason for one in done] == ["stop", "stop"]
        assert engine.stats().completion_tokens == sum(one.usage.completion_tokens for one in done)


def test_what_gave_way_is_what_did_not(model: DeviceModel, device: Late) -> None:
    asked, how = prompts(8, longest=20), choices(8)
    with engine_over(model, pages=400) as engine:
        expected = engine.generate(asked, how)
    for keeps in (False, True):
        with engine_over(model, pages=16) as engine:
            late_engine(engine, device)
            swap = swap_that_keeps_all(engine) if keeps else None
            assert said(engine.generate(asked, how)) == said(expected)
            assert engine.stats().gave_way > 0
            assert swap is None or swap.back > 0


def test_a_prefix_hit_is_cold(model: DeviceModel, device: Late) -> None:
    shared = prompts(1, seed=9)[0] * 2
    asked = [shared + tail for tail in prompts(8, longest=10, seed=10)]
    with engine_over(model) as engine:
        late_engine(engine, device)
        engine.generate(shared, greedy(1))
        done = engine.generate(asked, greedy(12))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 12) for ids in asked]
        assert all(one.usage.cached_tokens >= len(shared) // 4 * 4 for one in done)


def test_answers_to_one_prompt_share_it_although_it_is_still_computed(model: DeviceModel, device: Late) -> None:
    (ids,) = prompts(1, seed=4)
    params = SamplingParams(seed=3, n=4, max_tokens=8)
    with engine_over(model) as engine:
        expected = engine.generate(ids, params)
    with engine_over(model) as engine:
        late_engine(engine, device)
        done = engine.generate(ids, params)
        assert said([done, *done.alternatives]) == said([expected, *expected.alternatives])
        assert min(one.usage.cached_tokens for one in done.alternatives) > 0


def test_streams_that_are_left_or_aborted_disturb_nobody(model: DeviceModel, device: Late) -> None:
    asked = prompts(6, longest=20, seed=7)
    with engine_over(model, batch_tokens=16) as engine:
        late_engine(engine, device)
        left = engine.stream(asked[0], greedy(30))
        assert next(left).token_ids
        doomed = engine.submit(asked[1], greedy(30))
        kept = [engine.submit(ids, greedy(15)) for ids in asked[2:]]
        for _ in range(5):
            engine.step()
        left.close()
        engine.abort(doomed)
        cut = list(engine.follow(doomed))[-1].completion
        assert cut is not None
        assert cut.finish_reason == "abort"
        assert list(cut.token_ids) == model.answer(asked[1], 30)[: len(cut.token_ids)]
        for ids, id_ in zip(asked[2:], kept, strict=True):
            last = list(engine.follow(id_))[-1].completion
            assert last is not None
            assert list(last.token_ids) == model.answer(ids, 15)


def test_what_wants_to_see_every_token_runs_step_by_step_and_beside_it_all_others(
    model: DeviceModel, device: Late
) -> None:
    how = [
        SamplingParams(seed=3, repetition_penalty=1.3, max_tokens=12),
        SamplingParams(seed=6, logit_bias={9: 6.0}, prompt_logprobs=0, max_tokens=6),
        *choices(3),
    ]
    asked = prompts(5, longest=20)
    with engine_over(model) as engine:
        expected = engine.generate(asked, how)
    with engine_over(model) as engine:
        late_engine(engine, device)
        assert said(engine.generate(asked, how)) == said(expected)
        assert 0 < device.waits < engine.stats().steps
        assert engine.logits(asked[0]).shape == (len(asked[0]), 300)


def test_guesses_are_made_where_they_pay_and_nothing_is_guessed_in_flight(model: DeviceModel, device: Late) -> None:
    asked = [[5, 6, 7, 8] * 6, *prompts(2, longest=10)]
    model.scores[:] = 0
    model.scores[:, 5] = 1.0  # says one thing for ever, so that every guess is right
    with engine_over(model) as engine:
        late_engine(engine, device)
        done = engine.generate(asked, greedy(40))
        assert [one.token_ids for one in done] == [(5,) * 40] * 3
        stats = engine.stats()
        assert stats.accepted > 0
        assert device.waits > 0


def test_scores_that_are_no_numbers_end_their_own_request(model: DeviceModel, device: Late) -> None:
    asked = prompts(4, longest=12, seed=2)
    answers = [model.answer(ids, 12) for ids in asked]
    bad = answers[1][5]
    model.poison = {bad: float("nan")}
    with engine_over(model) as engine:
        expected = engine.generate(asked, greedy(12))
    with engine_over(model) as engine:
        late_engine(engine, device)
        done = engine.generate(asked, greedy(12))
        assert said(done) == said(expected)
        assert isinstance(done[1].error, NonFiniteLogits)
        assert str(done[1].error) == str(expected[1].error)


def test_what_raises_at_the_start_of_a_step_ends_only_the_guilty(model: DeviceModel) -> None:
    asked = prompts(3, longest=12, seed=2)
    plain = model.forward

    def failing(batch: object) -> object:
        if any(count > 40 for count in batch.contexts):  # type: ignore[attr-defined]
            raise ValueError("too long for this model")
        return plain(batch)  # type: ignore[arg-type]

    model.forward = failing  # type: ignore[method-assign, assignment]
    with engine_over(model) as engine:
        late_engine(engine, Prompt())
        done = engine.generate([*asked, list(range(38))], greedy(12))
        assert [one.finish_reason for one in done] == ["length"] * 3 + ["error"]
        assert [list(one.token_ids) for one in done[:3]] == [FakeModel().answer(ids, 12) for ids in asked]
        assert len(done[3].token_ids) == 3


def test_what_a_device_fails_at_later_ends_all_and_the_engine_goes_on(model: DeviceModel) -> None:
    asked = prompts(3, longest=12, seed=2)
    with engine_over(model) as engine:
        device = late_engine(engine)
        ids = [engine.submit(one, greedy(12)) for one in asked]
        for _ in range(4):
            engine.step()
        device._queue[0].work = _broken
        ended = [list(engine.follow(id_))[-1].completion for id_ in ids]
        assert [str(one.error) for one in ended if one] == ["the device is lost"] * 3
        device._queue.clear()
        assert list(engine.generate(asked[0], greedy(5)).token_ids) == model.answer(asked[0], 5)


def _broken() -> list[Tensor]:
    raise RuntimeError("the device is lost")


@pytest.mark.parametrize("seed", range(6))
def test_random_events_over_a_pool_of_eight_pages(model: DeviceModel, seed: int) -> None:
    random_events(model, seed, 120)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 106))
def test_many_more_random_events(model: DeviceModel, seed: int) -> None:
    random_events(model, seed, 1500)


def random_events(model: DeviceModel, seed: int, events: int) -> None:
    """Whatever is on its way meanwhile."""
    with engine_over(model, pages=8, batch_tokens=12, sequences=4) as engine:
        device = Late() if seed % 2 else Prompt()
        if seed % 4 < 2:
            late_engine(engine, device)
        else:
            recorded_engine(engine, device)
        if seed % 3 == 0:
            swap_that_keeps_all(engine)
        Events(engine, model, random.Random(seed), priorities=[0, 0, 1], checked=0.5).happen(events)


@pytest.mark.parametrize(
    "name", ["mistral0.1", *(pytest.param(one, marks=pytest.mark.slow) for one in ("gpt2", "qwen3"))]
)
def test_real_architectures_say_the_same_and_read_nothing_on_the_way(name: str, device: Late, tmp_path: Path) -> None:
    row = BY_NAME[name]
    model = load_model(save(reference(row), tmp_path), PLACE)
    asked = [prompt(row, 20 + 3 * seed, seed) for seed in range(6)]
    options = EngineOptions(kv_memory=1 << 20, page_size=8, batch_tokens=24, sequences=4, draft="off")
    with Engine(model, options=options) as engine:
        expected = engine.generate(asked, choices(6))
    with Engine(model, options=options) as engine:
        late_engine(engine, device)
        assert [one.token_ids for one in engine.generate(asked, choices(6))] == [one.token_ids for one in expected]
        assert device.waits > 10
        engine.check()

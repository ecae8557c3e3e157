"""Guessing changes no token, no logarithm, no reason and no character: only how many steps it takes."""

import random
from dataclasses import replace

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.errors import NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.runtime.speculation.guessing import How, Repeating, guessing, speculator_of

HOWS = ["ngram", *(pytest.param(how, marks=pytest.mark.slow) for how in ("same", "near", "other"))]
CHOICES = [
    SamplingParams(temperature=0, max_tokens=60),
    SamplingParams(temperature=0, max_tokens=40, logprobs=3, prompt_logprobs=1),
    SamplingParams(temperature=0.7, seed=1, max_tokens=50, logprobs=0),
    SamplingParams(temperature=0.9, seed=2, top_p=0.9, top_k=20, max_tokens=33, logprobs=2),
    SamplingParams(temperature=0.6, seed=3, repetition_penalty=1.1, frequency_penalty=0.1, max_tokens=45),
    SamplingParams(temperature=0.5, seed=4, presence_penalty=0.4, logit_bias={9: 3.0, 60: -5}, max_tokens=41),
    SamplingParams(temperature=0.7, seed=5, min_p=0.1, max_tokens=30, n=3),
    SamplingParams(temperature=0.8, seed=6, typical_p=0.8, max_tokens=1),
    SamplingParams(temperature=0.4, seed=7, stop_token_ids=[40, 80, 120, 160], max_tokens=70),
    SamplingParams(temperature=0.4, seed=8, stop=["a", "Zx", "ÿ", "\u0001"], max_tokens=70),
]


def prompts(seed: int = 0) -> list[list[int]]:
    """Some repeat themselves, some do not, one is a single token."""
    chance = random.Random(seed)
    plain = [[chance.randrange(250) for _ in range(chance.randint(1, 40))] for _ in range(len(CHOICES) - 3)]
    part = [chance.randrange(250) for _ in range(7)]
    return [[chance.randrange(250)], part * 4, *plain, part + plain[0] + part]


def told(done: Completion) -> object:
    """All that there is to know of an answer but its name and how long it took."""
    others = [told(other) for other in done.alternatives]
    usage = replace(done.usage, cached_tokens=0)
    return done.text, done.token_ids, done.finish_reason, done.logprobs, done.prompt_logprobs, usage, others


def answers(engine: Engine, seed: int = 0) -> list[object]:
    return [told(done) for done in engine.generate(prompts(seed), CHOICES)]


@pytest.fixture(scope="module")
def expected() -> list[object]:
    with guessing("off") as engine:
        assert engine.stats().proposed == 0
        return answers(engine)


@pytest.mark.parametrize(
    "how",
    ["ngram", "near", pytest.param("same", marks=pytest.mark.slow), pytest.param("other", marks=pytest.mark.slow)],
)
def test_answers_are_those_without_guesses(how: How, expected: list[object]) -> None:
    with guessing(how) as engine:
        assert answers(engine) == expected
        stats = engine.stats()
        assert stats.proposed > 50
        assert how == "other" or stats.accepted > stats.proposed / 8


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
def test_alone_in_company_and_after_each_other(how: How, expected: list[object]) -> None:
    with guessing(how) as engine:
        alone = [told(engine.generate(ids, params)) for ids, params in zip(prompts(), CHOICES, strict=True)]
        assert alone == expected


@pytest.mark.parametrize("how", ["ngram", "near"])
@pytest.mark.parametrize(
    ("pages", "batch_tokens"), [(40, 9), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((40, 64), (256, 12)))]
)
def test_where_pages_and_budget_are_short(how: How, pages: int, batch_tokens: int, expected: list[object]) -> None:
    with guessing(how, pages=pages, batch_tokens=batch_tokens) as engine:
        assert answers(engine) == expected
        stats = engine.stats()
        assert stats.accepted > 0 or how == "other"
        assert pages > 40 or stats.gave_way > 0


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("page_size", [pytest.param(1, marks=pytest.mark.slow), 16])
def test_pages_of_any_size(how: How, page_size: int, expected: list[object]) -> None:
    with guessing(how, page_size=page_size, pages=1024 // page_size) as engine:
        assert answers(engine) == expected


@pytest.mark.parametrize("how", HOWS)
def test_updates_come_token_by_token_all_the_same(how: How) -> None:
    def updates(engine: Engine) -> dict[tuple[int, int], list[object]]:
        seen: dict[tuple[int, int], list[object]] = {}
        for i, (ids, params) in enumerate(zip(prompts(), CHOICES, strict=True)):
            for one in engine.stream(ids, params):
                done = None if one.completion is None else told(one.completion)
                news = one.text, one.token_ids, one.logprobs, one.finish_reason, done
                seen.setdefault((i, one.choice), []).append(news)
        return seen

    with guessing("off") as plain, guessing(how) as engine:
        assert updates(engine) == updates(plain)


@pytest.mark.parametrize("how", HOWS)
def test_fewer_steps_and_every_token_counted_once(how: How) -> None:
    """A stop string in the midst of what one step chose: what comes behind it counts for nothing."""
    with guessing("off") as plain, guessing(how) as engine:
        for each in (plain, engine):
            for ids, params in zip(prompts(), CHOICES, strict=True):
                each.generate(ids, params)
        assert engine.stats().completion_tokens == plain.stats().completion_tokens
        assert engine.stats().prompt_tokens == plain.stats().prompt_tokens
        assert how == "other" or engine.stats().steps < plain.stats().steps


@pytest.mark.parametrize("how", ["ngram", "same"])
def test_scores_that_are_no_numbers_end_an_answer_at_the_same_token(how: How) -> None:
    def failed(how: How) -> list[object]:
        with guessing(how) as engine:
            desk = engine._open_desk
            assert desk is not None
            model = desk._wheel.runner.model
            assert isinstance(model, Repeating)
            whole = engine.generate(prompts()[1], CHOICES[0]).token_ids
            model.poison = {whole[29]: float("nan")}
            done = engine.generate(prompts()[1], CHOICES[0])
            assert isinstance(done.error, NonFiniteLogits)
            return [done.token_ids, str(done.error), engine.generate([3, 4], CHOICES[0]).error is None]

    assert failed(how) == failed("off")


@pytest.mark.parametrize("how", ["ngram", "near"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_whatever_happens_meanwhile(how: How, seed: int) -> None:
    """Requests of any priority come and are aborted; what ends by itself is what it is alone, the rest begins so."""
    chance = random.Random(seed)
    with guessing("off") as plain:
        whole = {i: plain.generate(ids, params) for i, (ids, params) in enumerate(zip(prompts(), CHOICES, strict=True))}
    with guessing(how, pages=48, sequences=3, batch_tokens=20) as engine:
        running: dict[str, int] = {}
        for _ in range(150):
            if chance.random() < 0.2:
                i = chance.choice([i for i, params in enumerate(CHOICES) if params.n == 1])
                running[engine.submit(prompts()[i], CHOICES[i], priority=chance.randrange(3))] = i
            if chance.random() < 0.04 and running:
                engine.abort(chance.choice(list(running)))
            engine.step()
            engine.check()
        for name, i in running.items():
            done = list(engine.follow(name))[-1].completion
            assert done is not None
            if done.finish_reason != "abort":
                assert told(done) == told(whole[i])
            else:
                assert done.token_ids == whole[i].token_ids[: len(done.token_ids)]


def test_a_proposer_that_fails_ends_guessing_and_nothing_else(expected: list[object]) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the draft broke")

    for method in ("prospect", "propose", "heard", "forget"):
        with guessing("ngram") as engine:
            speculator = speculator_of(engine)
            setattr(speculator.proposer, method, fail)
            assert answers(engine) == expected
            assert str(speculator.error) == "the draft broke"
            speculator.error = None

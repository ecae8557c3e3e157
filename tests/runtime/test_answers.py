"""Several answers of one prompt, and how likely a prompt is: through the engine, against a model without any cache."""

import pytest

from unillm.runtime.errors import InvalidParameter, NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.runtime.engines import engine_over, greedy
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

PROMPT = [7 * i % 250 for i in range(41)]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(vocabulary=258)


def assert_read(model: FakeModel, done: Completion, prompt: list[int], count: int) -> None:
    """`prompt_logprobs` are what the model says without any cache."""
    assert done.prompt_logprobs is not None
    expected = model.logits_of(prompt).log_softmax(-1)
    assert [one.token_id for one in done.prompt_logprobs] == prompt[1:]
    for place, one in enumerate(done.prompt_logprobs):
        assert one.logprob == pytest.approx(expected[place, prompt[place + 1]].item(), abs=1e-5)
        assert [other.token_id for other in one.top] == expected[place].topk(count).indices.tolist()


def test_several_answers_are_the_first_and_others_beside_it(model: FakeModel) -> None:
    params = SamplingParams(seed=3, max_tokens=10, n=4)
    with engine_over(model) as engine:
        done = engine.generate(PROMPT, params)
        answers = [done.token_ids, *(other.token_ids for other in done.alternatives)]
        assert len(set(answers)) == 4
        assert done.token_ids == engine.generate(PROMPT, SamplingParams(seed=3, max_tokens=10)).token_ids
        again = engine.generate([[1, 2], PROMPT], [greedy(3), params])
        assert [again[1].token_ids, *(other.token_ids for other in again[1].alternatives)] == answers
        assert again[0].alternatives == ()


def test_streamed_answers_are_told_apart_by_choice(model: FakeModel) -> None:
    params = SamplingParams(seed=3, max_tokens=10, n=3)
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        tokens: dict[tuple[int, int], tuple[int, ...]] = {}
        for update in engine.stream([PROMPT, [1, 2]], params):
            place = (update.index, update.choice)
            tokens[place] = tokens.get(place, ()) + update.token_ids
        whole = engine.generate([PROMPT, [1, 2]], params)
        for index, done in enumerate(whole):
            for choice, one in enumerate((done, *done.alternatives)):
                assert tokens[index, choice] == one.token_ids


def test_what_is_submitted_has_one_answer(model: FakeModel) -> None:
    with engine_over(model) as engine, pytest.raises(InvalidParameter, match="n is 2"):
        engine.submit(PROMPT, SamplingParams(n=2))


@pytest.mark.parametrize("budget", [9, 16, 2000])
def test_a_prompt_is_read_whole_or_in_chunks_cold_or_cached(model: FakeModel, budget: int) -> None:
    with engine_over(model, batch_tokens=budget) as engine:
        for _ in range(2):
            done = engine.generate(PROMPT, greedy(5, prompt_logprobs=3))
            assert_read(model, done, PROMPT, 3)
            assert list(done.token_ids) == model.answer(PROMPT, 5)
        assert engine.generate(PROMPT, greedy(1)).prompt_logprobs is None


def test_a_prompt_is_read_without_an_answer(model: FakeModel) -> None:
    with engine_over(model, batch_tokens=9) as engine:
        done = engine.generate(PROMPT, greedy(0, prompt_logprobs=1))
        assert (done.token_ids, done.finish_reason, done.text) == ((), "length", "")
        assert_read(model, done, PROMPT, 1)
        assert engine.generate([5], greedy(2, prompt_logprobs=1)).prompt_logprobs == ()


def test_prompts_that_gave_way_are_read_once(model: FakeModel) -> None:
    prompts = [[(seed + 3) * i % 250 for i in range(1, 13)] for seed in range(6)]
    with engine_over(model, pages=16, batch_tokens=9) as engine:
        for prompt, done in zip(prompts, engine.generate(prompts, greedy(25, prompt_logprobs=2)), strict=True):
            assert_read(model, done, prompt, 2)
            assert list(done.token_ids) == model.answer(prompt, 25)
        assert engine.stats().gave_way > 0


def test_scores_that_gave_way_come_once(model: FakeModel) -> None:
    """A long prompt is scored in small steps beside answers that take its pages from it."""
    long = [11 * i % 250 for i in range(40)]
    with engine_over(model, pages=18, batch_tokens=9, sequences=4) as engine:
        others = [engine.submit([seed, seed + 1], greedy(40)) for seed in range(2)]
        for _ in range(12):
            engine.step()
        assert engine.logits(long).shape == (40, 258)
        assert engine.logits(long).equal(model.logits_of(long))
        for other in others:
            list(engine.follow(other))
        assert engine.stats().gave_way > 0


def test_a_prompt_whose_scores_are_no_numbers_fails_alone(model: FakeModel) -> None:
    model.poison = {PROMPT[20]: float("nan")}
    with engine_over(model, batch_tokens=16) as engine:
        done = engine.generate([PROMPT, [1, 2, 3]], greedy(4, prompt_logprobs=0))
        assert isinstance(done[0].error, NonFiniteLogits)
        assert_read(model, done[1], [1, 2, 3], 0)


def test_a_bias_for_a_token_that_there_is_not_is_refused(model: FakeModel) -> None:
    with engine_over(model) as engine, pytest.raises(InvalidParameter, match="below 258"):
        engine.generate(PROMPT, SamplingParams(logit_bias={258: 1.0}))


@pytest.mark.parametrize("budget", [9, 2000])
def test_the_answers_of_one_prompt_compute_it_once(model: FakeModel, budget: int) -> None:
    """Of 41 tokens 40 fill pages; the others compute but the last one."""
    params = SamplingParams(seed=3, max_tokens=10, n=5)
    with engine_over(model, batch_tokens=budget) as engine:
        done = engine.generate(PROMPT, params)
        stats = engine.stats()
        assert (stats.prompt_tokens, stats.cached_tokens) == (5 * 41, 4 * 40)
        assert [other.usage.cached_tokens for other in done.alternatives] == [40] * 4
        together = [one.token_ids for one in (done, *done.alternatives)]
    with engine_over(model, batch_tokens=budget, prefix_cache="off") as engine:
        done = engine.generate(PROMPT, params)
        assert engine.stats().cached_tokens == 0
        assert [one.token_ids for one in (done, *done.alternatives)] == together


def test_who_waits_for_anothers_prompt_goes_on_when_that_one_is_aborted(model: FakeModel) -> None:
    params = SamplingParams(seed=3, max_tokens=10, n=4)
    with engine_over(model) as engine:
        whole = engine.generate(PROMPT, params)
        expected = [one.token_ids for one in (whole, *whole.alternatives)]
    for aborted in ([0], [0, 1], [1], [2, 0], [0, 1, 2, 3]):
        with engine_over(model, batch_tokens=9) as engine:
            ids = engine.submit_each(PROMPT, params)
            engine.step()
            assert engine.stats().waiting == 3
            for choice in aborted:
                engine.abort(ids[choice])
            ends = {update.id: update.completion for update in engine.follow(*ids) if update.completion}
            for choice, id_ in enumerate(ids):
                assert ends[id_].token_ids == (() if choice in aborted else expected[choice])
            left = 4 - len(aborted)
            computed = engine.stats().prompt_tokens - engine.stats().cached_tokens
            assert not left or computed <= 2 * 41 + left


def test_answers_that_gave_way_while_they_shared_are_the_same(model: FakeModel) -> None:
    params = SamplingParams(seed=3, max_tokens=30, n=6)
    with engine_over(model) as engine:
        whole = engine.generate(PROMPT, params)
    with engine_over(model, pages=32, batch_tokens=9) as engine:
        others = [engine.submit([i, i + 1], greedy(40), priority=i % 2) for i in range(3)]
        done = engine.generate(PROMPT, params)
        assert [one.token_ids for one in done.alternatives] == [one.token_ids for one in whole.alternatives]
        for other in others:
            list(engine.follow(other))
        assert engine.stats().gave_way > 0

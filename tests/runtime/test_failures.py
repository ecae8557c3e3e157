"""What goes wrong in one request fails that request alone, and leaves every page where it belongs."""

import math
from collections.abc import Sequence

import pytest
from torch import Tensor

from unillm.models.contract import Batch
from unillm.runtime import wheel
from unillm.runtime.errors import NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.runtime.request import Request
from unillm.runtime.results import Completion
from unillm.runtime.sampler import Row, Sample, Unsampled, sample
from unillm.runtime.wheel import Outcome
from unillm.tests.runtime.engines import engine_over, greedy
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

PROMPTS = [[1, 2, 3], [4, 5], [6] * 20, [7, 8]]


class Guilty(Exception):
    """Raised on purpose."""


class FailingModel(FakeModel):
    """Raises where the sequence of `PROMPTS[1]` has more than `at` tokens."""

    def __init__(self, at: int = 0, error: type[BaseException] = Guilty) -> None:
        super().__init__(vocabulary=258)
        self.at, self.error = at, error

    def forward(self, batch: Batch) -> Tensor:
        hidden = super().forward(batch)
        view = batch.cache[0]
        for row, context in enumerate(batch.contexts):
            if context > self.at and view.keys[view.table[row].long()].flatten()[:2].tolist() == PROMPTS[1]:
                raise self.error("on purpose")
        return hidden


def others_are_whole(model: FakeModel, done: Sequence[Completion], count: int, guilty: int = 1) -> None:
    for index, (one, ids) in enumerate(zip(done, PROMPTS, strict=True)):
        if index != guilty:
            assert (list(one.token_ids), one.finish_reason) == (model.answer(ids, count), "length")


@pytest.mark.parametrize("at", [0, 3, 5, 9])
def test_an_exception_in_the_forward_pass_fails_the_guilty_request_only(at: int) -> None:
    model = FailingModel(at)
    with engine_over(model) as engine:
        done = engine.generate(PROMPTS, greedy(12))
        assert (done[1].finish_reason, type(done[1].error)) == ("error", Guilty)
        assert len(done[1].token_ids) == max(0, at - 1)
        others_are_whole(model, done, 12)


def test_memory_that_suffices_for_half_a_batch_is_enough() -> None:
    class Narrow(FakeModel):
        def forward(self, batch: Batch) -> Tensor:
            if len(batch.queries) > 2:
                raise MemoryError
            return super().forward(batch)

    model = Narrow()
    with engine_over(model) as engine:
        done = engine.generate(PROMPTS, greedy(12))
        others_are_whole(model, done, 12, guilty=-1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("params", [greedy(12), SamplingParams(max_tokens=12, seed=1, top_p=0.9)])
def test_scores_that_are_no_numbers_end_their_request(bad: float, params: SamplingParams) -> None:
    model = FakeModel()
    with engine_over(model) as engine:
        clean = engine.generate(PROMPTS, params)
        model.poison = {5: bad}
        done = engine.generate(PROMPTS, params)
        assert isinstance(done[1].error, NonFiniteLogits)
        assert str(done[1].error) == "non-finite logits after token 2"
        for index in (0, 2, 3):
            if 5 not in clean[index].token_ids:
                assert done[index].token_ids == clean[index].token_ids


def test_all_scores_wrong_end_all_requests() -> None:
    model = FakeModel()
    model.scores.fill_(math.nan)
    with engine_over(model) as engine:
        done = engine.generate(PROMPTS, greedy(5))
        assert [one.finish_reason for one in done] == ["error"] * 4


def test_what_a_failed_request_computed_is_never_reused() -> None:
    model = FakeModel()
    with engine_over(model) as engine:
        model.poison = {19: math.nan}
        assert engine.generate(list(range(20)), greedy(3)).finish_reason == "error"
        assert engine.stats().cached_pages == 0
        model.poison = {}
        again = engine.generate(list(range(20)), greedy(3))
        assert (again.usage.cached_tokens, list(again.token_ids)) == (0, model.answer(range(20), 3))


def test_an_exception_in_the_sampler_fails_the_guilty_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(logits: Tensor, rows: Sequence[Row]) -> list[Sample | Unsampled]:
        if any(row.chooser.seed == 13 and row.place == 5 for row in rows):
            raise Guilty("on purpose")
        return sample(logits, rows)

    monkeypatch.setattr(wheel, "sample", failing)
    model = FakeModel()
    with engine_over(model) as engine:
        params = [greedy(12), greedy(12, seed=13), greedy(12), greedy(12)]
        done = engine.generate(PROMPTS, params)
        assert isinstance(done[1].error, Guilty)
        assert len(done[1].token_ids) == 3
        others_are_whole(model, done, 12)


class FailingTokenizer(ByteTokenizer):
    """Cannot name one token."""

    def __init__(self, hated: int) -> None:
        super().__init__()
        self.hated = hated

    def token(self, token: int) -> str:
        if token == self.hated:
            raise Guilty("on purpose")
        return super().token(token)


def test_an_exception_in_the_tokenizer_fails_the_guilty_request_only() -> None:
    model = FakeModel(vocabulary=258)
    others = {token for ids in PROMPTS if ids != PROMPTS[1] for token in model.answer(ids, 12)}
    hated = next(token for token in model.answer(PROMPTS[1], 12)[3:] if token not in others)
    with engine_over(model, tokenizer=FailingTokenizer(hated)) as engine:
        params = [greedy(12, logprobs=0, ignore_eos=True)] * 4
        done = engine.generate(PROMPTS, params)
        assert isinstance(done[1].error, Guilty)
        others_are_whole(model, done, 12)


def test_a_failed_scoring_raises_and_leaves_others_alone() -> None:
    model = FailingModel()
    with engine_over(model) as engine:
        request = engine.submit(PROMPTS[0], greedy(12))
        engine.step()
        with pytest.raises(Guilty):
            engine.logits(PROMPTS[1])
        assert len(list(engine.follow(request))) == 12


def test_a_failing_stream_ends_with_its_error() -> None:
    model = FailingModel(at=5)
    with engine_over(model) as engine:
        updates = list(engine.stream(PROMPTS[1], greedy(12)))
        last = updates[-1].completion
        assert last is not None
        assert (last.finish_reason, len(last.token_ids), type(last.error)) == ("error", 4, Guilty)


def test_an_interrupt_leaves_the_engine_whole() -> None:
    model = FailingModel(at=5, error=KeyboardInterrupt)
    with engine_over(model) as engine:
        with pytest.raises(KeyboardInterrupt):
            engine.generate(PROMPTS, greedy(12))
        engine.check()
        assert engine.stats().running == 0
        assert list(engine.generate(PROMPTS[0], greedy(12)).token_ids) == model.answer(PROMPTS[0], 12)


@pytest.mark.parametrize("count", [3, 12])
def test_an_interrupt_between_two_requests_ends_who_may_have_lost_a_token(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel()
    with engine_over(model) as engine:
        first, second = (engine.submit(prompt, greedy(count)) for prompt in PROMPTS[:2])
        heard = iter(range(1, 4))
        take = Request.take

        def interrupted(request: Request, outcome: Outcome) -> bool:
            if request.id == first and next(heard) == 3:
                raise KeyboardInterrupt
            return take(request, outcome)

        monkeypatch.setattr(Request, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(engine.follow(first))
        engine.check()
        last = list(engine.follow(second))[-1].completion
        assert last is not None
        assert last.finish_reason == "abort"
        assert list(last.token_ids) == model.answer(PROMPTS[1], 2)


@pytest.mark.parametrize("step", range(12))
def test_an_abort_in_any_step_returns_every_page(step: int) -> None:
    model = FakeModel()
    with engine_over(model, pages=12, batch_tokens=12) as engine:
        ids = [engine.submit(prompt, greedy(16)) for prompt in PROMPTS]
        for _ in range(step):
            engine.step()
        for aborted in ids[1:]:
            engine.abort(aborted)
        engine.check()
        endings = [list(engine.follow(id_))[-1].completion for id_ in ids]
        assert [done.finish_reason for done in endings if done] == ["length", "abort", "abort", "abort"]
        assert endings[0] is not None
        assert list(endings[0].token_ids) == model.answer(PROMPTS[0], 16)

"""Faults at every place, in every step: whoever is struck ends with its error, the others answer as if alone."""

import math
import threading
from collections.abc import Sequence
from functools import cache
from time import monotonic

import pytest
import torch

from unillm.runtime import wheel
from unillm.runtime.engine import Engine
from unillm.runtime.errors import InjectedFault, InvalidParameter, NonFiniteLogits, NotEnoughMemory
from unillm.runtime.faults import Fault, Kind, Place, read_faults
from unillm.runtime.kv import pool
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.runtime.engines import engine_over, greedy, make_engine, swap_that_keeps_all
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

PROMPTS = [[1, 2, 3], [4, 5], [6] * 20, [7, 8]]
COUNT = 10
GUILTY = 2  # the number of the second request
HOW = [greedy(COUNT), SamplingParams(seed=3, max_tokens=COUNT), greedy(COUNT), SamplingParams(seed=4, max_tokens=COUNT)]
PATIENCE = 30.0  # seconds; a test that waits so long has hung


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(vocabulary=258)


@cache
def whole() -> list[tuple[int, ...]]:
    """What everybody answers where nothing goes wrong."""
    with engine_over(FakeModel(vocabulary=258), pages=2000) as engine:
        return [engine.generate(ids, how).token_ids for ids, how in zip(PROMPTS, HOW, strict=True)]


def answers(model: FakeModel, *faults: Fault, pages: int = 64) -> list[Completion]:
    with engine_over(model, pages=pages, tokenizer=ByteTokenizer(), faults=faults) as engine:
        ids = [engine.submit(prompt, how) for prompt, how in zip(PROMPTS, HOW, strict=True)]
        done = [list(engine.follow(id_))[-1].completion for id_ in ids]
        return [one for one in done if one is not None]


def only_the_guilty_failed(done: Sequence[Completion], expected: Sequence[tuple[int, ...]]) -> None:
    for number, (one, tokens) in enumerate(zip(done, expected, strict=True), 1):
        if number == GUILTY:
            assert one.finish_reason == "error"
            assert one.token_ids == tokens[: len(one.token_ids)]
        else:
            assert (one.token_ids, one.error) == (tokens, None)


@pytest.mark.parametrize("after", range(COUNT))
@pytest.mark.parametrize("place", ["forward", "sample", "callback", "decode"])
def test_a_fault_in_any_step_at_any_place_ends_the_guilty_request_only(
    model: FakeModel, place: Place, after: int
) -> None:
    """EN-05."""
    done = answers(model, Fault(place, request=GUILTY, after=after))
    only_the_guilty_failed(done, whole())
    assert isinstance(done[GUILTY - 1].error, InjectedFault)


@pytest.mark.parametrize("after", range(COUNT))
@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_scores_that_are_no_numbers_end_their_request_in_any_step(model: FakeModel, kind: Kind, after: int) -> None:
    """EN-06."""
    done = answers(model, Fault("logits", kind, request=GUILTY, after=after))
    only_the_guilty_failed(done, whole())
    assert isinstance(done[GUILTY - 1].error, NonFiniteLogits)
    assert len(done[GUILTY - 1].token_ids) == after


def test_scores_that_are_no_numbers_for_anybody_end_everybody_and_the_engine_goes_on(model: FakeModel) -> None:
    """EN-06."""
    expected = whole()
    fault = Fault("logits", "nan", times=4)
    with engine_over(model, faults=[fault]) as engine:
        assert [one.finish_reason for one in engine.generate(PROMPTS, HOW)] == ["error"] * 4
        assert [one.token_ids for one in engine.generate(PROMPTS, HOW)] == expected


@pytest.mark.parametrize("after", range(COUNT))
@pytest.mark.parametrize("kind", ["memory", "device-memory", "error"])
def test_what_goes_wrong_once_and_not_again_is_nobodys_fault(model: FakeModel, kind: Kind, after: int) -> None:
    """EN-05, EN-07: the step is cut in halves, and each is computed again."""
    for place in ("forward", "sample"):
        done = answers(model, Fault(place, kind, after=after, times=1, above=1))
        assert [one.token_ids for one in done] == whole()


@pytest.mark.parametrize("after", range(COUNT))
def test_a_step_that_cannot_be_planned_ends_everybody_and_the_engine_goes_on(model: FakeModel, after: int) -> None:
    """EN-05: nobody is left to wait, whoever turned the wheel."""
    faults = [Fault("plan", after=after, times=1)]
    with engine_over(model, pages=64, tokenizer=ByteTokenizer(), faults=faults) as engine:
        ids = [engine.submit(prompt, how) for prompt, how in zip(PROMPTS, HOW, strict=True)]
        for id_, tokens in zip(ids, whole(), strict=True):
            done = list(engine.follow(id_))[-1].completion
            assert done is not None
            assert isinstance(done.error, InjectedFault)
            assert done.token_ids == tokens[: len(done.token_ids)]
        engine.check()
        assert engine.stats().sequence_pages == engine.stats().running == engine.stats().waiting == 0
        assert [engine.generate(ids, how).token_ids for ids, how in zip(PROMPTS, HOW, strict=True)] == list(whole())


@pytest.mark.parametrize("kind", ["memory", "device-memory"])
def test_memory_that_never_suffices_for_more_than_one_is_enough(model: FakeModel, kind: Kind) -> None:
    """EN-07."""
    done = answers(model, Fault("forward", kind, above=1))
    assert [one.token_ids for one in done] == whole()


@pytest.mark.parametrize("kind", ["memory", "device-memory"])
def test_a_request_that_memory_never_suffices_for_fails_alone(model: FakeModel, kind: Kind) -> None:
    """EN-07."""
    done = answers(model, Fault("forward", kind, request=GUILTY, after=3))
    only_the_guilty_failed(done, whole())
    assert isinstance(done[GUILTY - 1].error, MemoryError | torch.OutOfMemoryError)


def test_an_error_that_is_kept_does_not_keep_what_was_computed(model: FakeModel) -> None:
    """EN-07: a traceback holds every local of the frames it passed, tensors among them."""
    (done,) = [one for one in answers(model, Fault("forward", "memory", request=GUILTY)) if one.error is not None]
    assert done.error is not None
    trace, names = done.error.__traceback__, list[str]()
    while trace is not None:
        names += trace.tb_frame.f_locals
        trace = trace.tb_next
    assert "chunks" not in names


def test_faults_at_random_places_and_steps_lose_nothing(model: FakeModel) -> None:
    """EN-05, over pages that run out. The first four that are read are the ends of the prompts, still at the door."""
    expected = whole()
    places: tuple[Place, ...] = ("forward", "sample", "callback", "decode", "logits")
    for seed in range(10):
        faults = [
            Fault(place, "nan" if place == "logits" else "error", after=4 + seed * (7 + number) % 40, times=1)
            for number, place in enumerate(places)
        ]
        done = answers(model, *faults, pages=14)
        for one, tokens in zip(done, expected, strict=True):
            assert one.token_ids == tokens[: len(one.token_ids)]
            assert (one.finish_reason == "length") == (one.token_ids == tokens and one.error is None)


@pytest.mark.parametrize("place", ["save", "restore"])
def test_pages_that_cannot_be_copied_are_computed_again(model: FakeModel, place: Place) -> None:
    """EN-05, EN-09: of who gave way."""
    asked = [[10 * number + 1, *range(2, 14)] for number in range(6)]
    with engine_over(model, pages=24, prefix_cache="off", faults=[Fault(place)]) as engine:
        swap = swap_that_keeps_all(engine)
        done = engine.generate(asked, greedy(30))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 30) for ids in asked]
        assert swap.broken > 0


@pytest.mark.parametrize("times", [1, 3, None])
def test_a_cache_that_cannot_grow_serves_with_what_it_has(
    model: FakeModel, times: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-05, EN-07: it grows later, where there is memory later."""
    monkeypatch.setattr(pool, "SLAB_BYTES", 10 * 64)
    asked = [[10 * number + 1, *range(2, 14)] for number in range(6)]
    with engine_over(model, pages=60, faults=[Fault("allocate", "memory", times=times)]) as engine:
        done = engine.generate(asked, greedy(20))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 20) for ids in asked]
        assert (engine.stats().slabs == 1) == (times is None)


def test_who_needs_more_than_the_cache_can_grow_to_fails_and_does_not_wait_for_ever(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EN-07."""
    monkeypatch.setattr(pool, "SLAB_BYTES", 10 * 64)
    monkeypatch.setattr(wheel, "STARVED", 0.0)
    with engine_over(model, pages=60, faults=[Fault("allocate", "memory")]) as engine:
        small, large = engine.generate([[1, 2], list(range(1, 30))], greedy(30))
        assert (list(small.token_ids), small.error) == (model.answer([1, 2], 30), None)
        assert isinstance(large.error, NotEnoughMemory)
        assert "in a cache that could not grow" in str(large.error)  # and nobody else is blamed


def test_guesses_that_cannot_be_made_are_done_without(model: FakeModel) -> None:
    """EN-05."""
    model.script = [5, 6, 7] * 10
    expected = make_engine(model).generate([1, 2], greedy(30)).token_ids
    options = EngineOptions(kv_memory=1 << 16, page_size=4, draft="ngram", faults=(Fault("propose", after=2),))
    with Engine(model, options=options) as engine:
        assert engine.stats().guessing_failed is None
        assert engine.generate([1, 2], greedy(30)).token_ids == expected
        assert engine.stats().accepted > 0
        assert "injected at propose" in (engine.stats().guessing_failed or "")


def test_a_tokenizer_that_fails_to_read_a_prompt_fails_its_caller_and_no_other(model: FakeModel) -> None:
    """EN-05."""
    with engine_over(model, tokenizer=ByteTokenizer(), faults=[Fault("encode", after=1, times=1)]) as engine:
        first = engine.submit("abc", greedy(COUNT))
        with pytest.raises(InjectedFault, match="injected at encode"):
            engine.generate("def", greedy(COUNT))
        assert len(list(engine.follow(first))) == COUNT
        assert len(engine.generate("def", greedy(COUNT)).token_ids) == COUNT


def test_a_template_that_fails_fails_its_caller_and_no_other(model: FakeModel) -> None:
    """EN-05."""
    options = EngineOptions(kv_memory=1 << 16, page_size=4, faults=(Fault("render", after=1, times=1),))
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", "m")
    talk = [{"role": "user", "content": "hello"}]
    with Engine(model, ByteTokenizer(), template, options=options) as engine:
        first = engine.chat(talk, greedy(COUNT)).token_ids
        with pytest.raises(InjectedFault, match="injected at render"):
            engine.chat(talk, greedy(COUNT))
        assert engine.chat(talk, greedy(COUNT)).token_ids == first


def test_a_forward_pass_that_stands_still_is_seen_from_outside(model: FakeModel) -> None:
    """EN-13: without waiting for the turn that does not end."""
    with engine_over(model, faults=[Fault("forward", "stall", after=2, times=1, seconds=1.5)]) as engine:
        assert (engine.progress().works, engine.progress().stalled) == (False, 0.0)
        stream = engine.stream([1, 2], greedy(COUNT))
        assert engine.progress().works
        first = [next(stream), next(stream)]
        assert [update.finish_reason for update in first] == [None, None]
        reader = threading.Thread(target=lambda: list(stream))
        asked = monotonic()
        reader.start()
        while engine.progress().stalled < 1.0:
            assert monotonic() - asked < PATIENCE
        reader.join(PATIENCE)
        assert not engine.progress().works


def test_the_tokenizer_that_was_given_is_not_the_one_that_fails(model: FakeModel) -> None:
    tokenizer = ByteTokenizer()
    with engine_over(model, tokenizer=tokenizer, faults=[Fault("encode")]) as engine:
        assert tokenizer.encode("x") == [256, 120]
        with pytest.raises(InjectedFault):
            engine.generate("x", greedy(1))


def test_an_engine_without_faults_has_nothing_of_them_in_it(model: FakeModel) -> None:
    with make_engine(model, tokenizer=ByteTokenizer()) as engine:
        desk = engine._open_desk
        assert desk is not None
        for part in (desk, desk._wheel.runner, engine.tokenizer):
            assert not any(hasattr(value, "__wrapped__") for value in vars(part).values())


def test_faults_are_read_as_they_are_written() -> None:
    assert read_faults("forward=memory,after=3,times=1; logits,request=2;; forward=stall,seconds=0.5") == (
        Fault("forward", "memory", after=3, times=1),
        Fault("logits", "nan", request=2),
        Fault("forward", "stall", seconds=0.5),
    )
    assert read_faults("") == ()


@pytest.mark.parametrize("text", ["nowhere", "forward=maybe", "forward,after", "forward,after=x", "forward,place=1"])
def test_a_fault_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="faults is"):
        read_faults(text)


@pytest.mark.parametrize("text", ["forward=nan", "logits=error", "forward=inf"])
def test_only_scores_can_be_no_numbers(text: str) -> None:
    with pytest.raises(InvalidParameter, match="nan or inf at logits"):
        read_faults(text)


def test_what_scores_hold_is_what_was_asked_for() -> None:
    assert math.isnan(read_faults_value("nan"))
    assert read_faults_value("inf") == math.inf


def read_faults_value(kind: Kind) -> float:
    """The score that a model's runner hands out with this fault."""
    model = FakeModel()
    with make_engine(model, faults=[Fault("logits", kind)]) as engine:
        return float(engine.logits([1, 2])[0, 0])

"""The engine as its users see it: what goes in, what comes out, and what is refused. Over a fake model."""

import gc

import pytest
import torch

from unillm.runtime.engine import Engine
from unillm.runtime.errors import (
    ContextTooLong,
    EngineClosed,
    InvalidParameter,
    InvalidPrompt,
    NoChatTemplate,
    NotEnoughMemory,
    NoTokenizer,
    PromptTooLong,
    UnknownRequest,
)
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.engines import GREEDY, engine_over, greedy, make_engine
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(vocabulary=258)


def test_one_prompt_gives_one_completion_and_a_list_a_list(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        one = engine.generate([1, 2, 3], GREEDY)
        assert one.token_ids == tuple(model.answer([1, 2, 3], 12))
        many = engine.generate([[1, 2, 3], "abc"], GREEDY)
        assert [done.token_ids for done in many] == [one.token_ids, tuple(model.answer([256, 97, 98, 99], 12))]
        none: list[str] = []
        assert [*engine.generate(none, GREEDY)] == []


def test_each_prompt_may_have_its_own_parameters(model: FakeModel) -> None:
    with engine_over(model) as engine:
        done = engine.generate([[1], [2]], [greedy(3), greedy(5)])
        assert [len(one.token_ids) for one in done] == [3, 5]
        with pytest.raises(InvalidParameter, match="as many as prompts"):
            engine.generate([[1], [2]], [greedy(3)])


def test_a_completion_says_how_it_ended_and_what_it_took(model: FakeModel) -> None:
    with engine_over(model) as engine:
        done = engine.generate(list(range(20)), greedy(5))
        assert (done.finish_reason, done.error, done.logprobs) == ("length", None, None)
        assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.cached_tokens) == (20, 5, 0)
        again = engine.generate(list(range(20)), greedy(5))
        assert again.usage.cached_tokens == 16
        times = done.timings
        assert 0 <= times.queued <= times.first_token <= times.total
        assert times.prompt_tokens_per_second > 0
        assert times.tokens_per_second > 0


def test_updates_add_up_to_the_completion(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        updates = list(engine.stream("hello", greedy(40, logprobs=1)))
        last = updates[-1].completion
        assert last is not None
        assert [update.completion for update in updates[:-1]] == [None] * (len(updates) - 1)
        assert "".join(update.text for update in updates) == last.text
        assert sum((update.token_ids for update in updates), ()) == last.token_ids
        assert sum((update.logprobs or () for update in updates), ()) == last.logprobs
        assert updates[-1].finish_reason == last.finish_reason
        assert last.text == engine.generate("hello", greedy(40)).text


def test_several_prompts_stream_at_once_told_apart_by_index(model: FakeModel) -> None:
    with engine_over(model) as engine:
        tokens: dict[int, list[int]] = {0: [], 1: []}
        order = []
        for update in engine.stream([[1, 2], [3, 4]], greedy(6)):
            tokens[update.index] += update.token_ids
            order.append(update.index)
        assert tokens == {0: model.answer([1, 2], 6), 1: model.answer([3, 4], 6)}
        assert order != sorted(order)


def test_text_is_handed_out_in_whole_characters(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        model.script = [*"a€😀é".encode(), 257]
        texts = [update.text for update in engine.stream("x", greedy(50))]
        assert [text for text in texts if text] == ["a", "€", "😀", "é"]


def test_an_end_token_ends_and_is_no_text(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        model.script = [*b"bye", 257, *b"more"]
        done = engine.generate("x", greedy(50))
        assert (done.text, done.finish_reason, done.token_ids[-1]) == ("bye", "stop", 257)
        goes_on = engine.generate("x", greedy(8, ignore_eos=True))
        assert (goes_on.text, goes_on.finish_reason) == ("byemore", "length")


def test_a_stop_token_id_ends_and_is_no_text(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        model.script = list(b"one, two, three")
        done = engine.generate("x", greedy(15, stop_token_ids=[ord(",")]))
        assert (done.text, done.finish_reason) == ("one", "stop")


@pytest.mark.parametrize(
    ("stop", "text", "reason"),
    [
        ("two", "one ", "stop"),
        (["zzz", "o th"], "one tw", "stop"),
        ("o", "", "stop"),
        (["one two three four", "three"], "one two ", "stop"),
        ("ee!", "one two three", "length"),
    ],
)
def test_stop_strings_cut_exactly_and_lose_nothing(model: FakeModel, stop: str, text: str, reason: str) -> None:
    """EN-12."""
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        model.script = list(b"one two three")
        done = engine.generate("x", greedy(13, stop=stop))
        assert (done.text, done.finish_reason) == (text, reason)
        updates = list(engine.stream("x", greedy(13, stop=stop)))
        assert "".join(update.text for update in updates) == text


def test_no_tokens_asked_for_are_no_tokens(model: FakeModel) -> None:
    """EN-12."""
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        done = engine.generate("x", greedy(0))
        assert (done.text, done.token_ids, done.finish_reason) == ("", (), "length")
        (only,) = engine.stream("x", greedy(0))
        assert only.completion == pytest.approx(only.completion)
        assert only.finish_reason == "length"
        assert engine.stats().steps == 0


def test_without_a_limit_an_answer_fills_the_context(model: FakeModel) -> None:
    with engine_over(model, context=40) as engine:
        done = engine.generate([1] * 10, SamplingParams(temperature=0))
        assert (len(done.token_ids), done.finish_reason) == (30, "length")


def test_a_models_default_limit_is_cut_where_it_does_not_fit_and_a_callers_refused(model: FakeModel) -> None:
    with Engine(model, defaults={"max_tokens": 10_000, "temperature": 0.0}) as engine:
        assert len(engine.generate([1] * 500).token_ids) == 12
        with pytest.raises(PromptTooLong, match="500 tokens and 13 more are asked for; the context holds 512"):
            engine.generate([1] * 500, SamplingParams(max_tokens=13))


def test_a_models_defaults_fill_what_a_caller_leaves_open(model: FakeModel) -> None:
    with Engine(model, defaults={"temperature": 0.0, "max_tokens": 3}) as engine:
        assert engine.generate([5]).token_ids == tuple(model.answer([5], 3))
        assert len(engine.generate([5], SamplingParams(max_tokens=6)).token_ids) == 6


def test_a_prompt_that_can_never_fit_is_refused_with_the_numbers(model: FakeModel) -> None:
    """EN-03."""
    with engine_over(model, context=40) as engine:
        with pytest.raises(PromptTooLong, match="the prompt has 40 tokens; the context holds 40") as refused:
            engine.generate([[1], [1] * 40], SamplingParams(temperature=0))
        assert (refused.value.tokens, refused.value.context) == (40, 40)
        assert engine.stats().steps == 0
        with pytest.raises(PromptTooLong):
            engine.logits([1] * 41)


def test_the_context_is_what_was_trained_capped_by_memory(model: FakeModel) -> None:
    assert make_engine(model).context == 512
    assert make_engine(model, pages=8).context == 32
    with pytest.raises(NotEnoughMemory, match=r"a context of 40 tokens needs .* of memory"):
        make_engine(model, pages=8, context=40)
    with pytest.raises(ContextTooLong, match="513 tokens was asked for; the model was trained for 512"):
        make_engine(model, context=513)


@pytest.mark.parametrize("prompt", ["", [258], [-1], [1, 5000]])
def test_a_prompt_that_no_model_can_read_is_refused(model: FakeModel, prompt: str | list[int]) -> None:
    with engine_over(model) as engine:
        engine_tokenizer = make_engine(model, tokenizer=_NoBos())
        with pytest.raises(InvalidPrompt):
            engine_tokenizer.generate(prompt if isinstance(prompt, str) else [prompt])
        with pytest.raises(InvalidPrompt):
            engine.logits([] if isinstance(prompt, str) else prompt)


class _NoBos(ByteTokenizer):
    def encode(self, text: str, *, special: bool = False, bos: bool | None = None) -> list[int]:
        return super().encode(text, special=special, bos=False)


def test_something_that_is_no_prompt_is_refused(model: FakeModel) -> None:
    with engine_over(model) as engine, pytest.raises(InvalidPrompt, match="text or a list of token ids"):
        engine.generate([1.5, 2.5])  # type: ignore[list-item]


def test_a_model_without_tokenizer_takes_ids_and_says_so(model: FakeModel) -> None:
    with engine_over(model) as engine:
        assert engine.generate([1], GREEDY).text == ""
        with pytest.raises(NoTokenizer):
            engine.generate("text", GREEDY)
        with pytest.raises(NoTokenizer):
            engine.generate([1], SamplingParams(stop="x"))
        with pytest.raises(NoChatTemplate):
            engine.chat([{"role": "user", "content": "hi"}])


def test_a_bos_that_the_prompt_spells_out_is_not_put_twice(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        engine.generate("<s>a", greedy(1))
        assert model.batches[-1].ids.tolist() == [256, 97]


def test_logprobs_name_their_tokens(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        done = engine.generate("x", greedy(4, logprobs=2))
        assert done.logprobs is not None
        assert [entry.token_id for entry in done.logprobs] == list(done.token_ids)
        for entry in done.logprobs:
            assert entry.token == ByteTokenizer().token(entry.token_id)
            assert entry.top[0].token_id == entry.token_id
            assert entry.top[0].logprob == entry.logprob > entry.top[1].logprob


def test_logits_are_those_of_every_position(model: FakeModel) -> None:
    ids = list(range(1, 80))
    with engine_over(model) as engine:
        scores = engine.logits(ids)
        assert scores.dtype is torch.float32
        assert torch.equal(scores, model.logits_of(ids))
        assert torch.equal(engine.logits(ids, start=50), scores[50:])
        assert engine.stats().cached_tokens == 48


def test_an_abort_ends_a_stream_and_says_so(model: FakeModel) -> None:
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        stream = engine.stream("x", SamplingParams(temperature=0, ignore_eos=True))
        first = next(stream)
        engine.abort(stream.id)
        rest = list(stream)
        assert [update.finish_reason for update in rest][-1] == "abort"
        done = rest[-1].completion
        assert done is not None
        assert done.token_ids[:1] == first.token_ids
        engine.abort(stream.id)
        engine.abort("request-99")


def test_a_stream_that_is_left_early_frees_its_pages(model: FakeModel) -> None:
    with engine_over(model) as engine:
        with engine.stream([1, 2, 3], SamplingParams(temperature=0)) as stream:
            next(stream)
        assert engine.stats().running == 0
        for _ in engine.stream([1, 2, 3], SamplingParams(temperature=0)):
            break
        gc.collect()
        assert engine.stats().running == 0
        engine.stream([1, 2, 3])
        gc.collect()
        assert engine.stats().waiting == 0


def test_what_was_submitted_is_followed_later(model: FakeModel) -> None:
    with engine_over(model) as engine:
        first, second = engine.submit([1], greedy(3)), engine.submit([2], greedy(4))
        while engine.step():
            pass
        assert [update.token_ids for update in engine.follow(second)] == [(token,) for token in model.answer([2], 4)]
        assert len(list(engine.follow(first))) == 3
        with pytest.raises(UnknownRequest):
            engine.follow(first)


def test_a_closed_engine_says_so_and_ends_what_ran(model: FakeModel) -> None:
    engine = make_engine(model)
    stream = engine.stream([1, 2, 3], SamplingParams(temperature=0))
    next(stream)
    engine.close()
    engine.close()
    assert [update.finish_reason for update in stream][-1] == "abort"
    for call in (
        lambda: engine.generate([1]),
        lambda: engine.stream([1]),
        lambda: engine.logits([1]),
        lambda: engine.submit([1]),
        engine.stats,
        engine.step,
        engine.check,
    ):
        with pytest.raises(EngineClosed, match="the engine of the model is closed"):
            call()


def test_closing_gives_the_memory_back(model: FakeModel) -> None:
    import weakref

    engine = make_engine(model)
    engine.generate([1, 2], GREEDY)
    desk = engine._open_desk
    assert desk is not None
    pool = weakref.ref(desk._wheel.runner.pool)
    del desk
    model.batches.clear()  # this model remembers what it was asked, and that shows the pages
    engine.close()
    gc.collect()
    assert pool() is None


def test_a_builder_says_what_it_needs() -> None:
    with pytest.raises(InvalidParameter, match=r"model is None"):
        Engine.builder().device("cpu").build()
    with pytest.raises(InvalidParameter, match="context is 0"):
        Engine.builder().context(0)


def test_an_answer_goes_on_where_the_prompt_ends(model: FakeModel) -> None:
    """The prompt ends inside a character; the answer's first bytes complete it."""
    with engine_over(model, tokenizer=ByteTokenizer()) as engine:
        model.script = [*"é!".encode()[1:], 257]
        assert engine.generate([256, "é".encode()[0]], greedy(9)).text == "é!"

"""An answer that is held to a form: it is that form's, however it came about, and ends where the form is complete."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import jsonschema
import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.errors import InjectedFault, InvalidParameter, NoTokenBytes, NoTokenizer
from unillm.runtime.faults import Fault
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.runtime.engines import engine_over, swap_that_keeps_all
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel
from unillm.tests.runtime.speculation.guessing import How, guessing, speculator_of

END = 257
PAIRS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"left": {"type": "integer", "maximum": 99}, "right": {"enum": ["aa", "bb", "cc"]}},
        "required": ["left", "right"],
        "additionalProperties": False,
    },
    "minItems": 3,
    "maxItems": 5,
}
WORDS = r"(ab|cd){2,9}-[0-9]{3}"
FORMS = [
    SamplingParams(temperature=0, max_tokens=400, schema=PAIRS),
    SamplingParams(temperature=1, seed=1, max_tokens=400, schema=PAIRS, top_k=20),
    SamplingParams(temperature=0.7, seed=2, max_tokens=60, regex=WORDS, logprobs=2),
    SamplingParams(temperature=1, seed=3, max_tokens=60, choice=["first", "second", "third"], n=3),
    SamplingParams(temperature=0.9, seed=4, max_tokens=60, grammar='start: ("a" | "b")+ "." /[0-9]+/'),
    SamplingParams(temperature=0, max_tokens=20),
    SamplingParams(temperature=0.8, seed=5, max_tokens=30, regex=WORDS, frequency_penalty=0.5, presence_penalty=0.5),
]
PROMPTS = [[number + 1, 2, 3, 4, 5] for number in range(len(FORMS))]


def model() -> FakeModel:
    return FakeModel(vocabulary=258)


def told(answers: Sequence[Completion]) -> list[object]:
    """What is said of answers, without their names and times."""
    return [
        (one.text, one.token_ids, one.finish_reason, one.logprobs, one.formed, told(one.alternatives))
        for one in answers
    ]


def ask(engine: Engine, **how: object) -> Completion:
    given = {"max_tokens": 400, "seed": 0, **how}
    return engine.generate("say it", SamplingParams(**given))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone() -> list[object]:
    """Each by itself, with room for all, and nothing guessed."""
    with engine_over(model(), pages=2000, tokenizer=ByteTokenizer()) as engine:
        answers = [engine.generate(ids, how) for ids, how in zip(PROMPTS, FORMS, strict=True)]
    for answer in answers[:2]:
        jsonschema.validate(json.loads(answer.text), PAIRS)
    assert re.fullmatch(WORDS, answers[2].text)
    return told(answers)


def test_together_they_say_what_each_says_alone(alone: list[object]) -> None:
    with engine_over(model(), pages=2000, tokenizer=ByteTokenizer(), sequences=16) as engine:
        assert told(engine.generate(PROMPTS, FORMS)) == alone


@pytest.mark.parametrize("keeps", [True, False])
def test_giving_way_changes_nothing(keeps: bool) -> None:
    short = [replace(form, max_tokens=40) for form in FORMS]
    with engine_over(model(), pages=2000, tokenizer=ByteTokenizer()) as engine:
        expected = told(engine.generate(PROMPTS, short))
    with engine_over(model(), pages=20, tokenizer=ByteTokenizer(), prefix_cache="off") as engine:
        if keeps:
            swap_that_keeps_all(engine)
        assert told(engine.generate(PROMPTS, short)) == expected
        assert engine.stats().gave_way > 0


@pytest.mark.parametrize("how", ["ngram", "same", pytest.param("near", marks=pytest.mark.slow)])
def test_guesses_obey_the_form_and_change_nothing(how: How) -> None:
    with guessing("off", pages=1000) as engine:
        expected = told(engine.generate(PROMPTS, FORMS))
    with guessing(how, pages=1000) as engine:
        assert told(engine.generate(PROMPTS, FORMS)) == expected
        assert engine.stats().accepted > 0
        assert speculator_of(engine).error is None


def test_an_end_comes_where_the_form_allows_it_and_not_before() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        eager = ask(engine, regex="[a-c]{3,9}", logit_bias={END: 100.0}, stop_token_ids=[END])
        assert (len(eager.text), eager.finish_reason, eager.formed) == (3, "stop", False)
        assert eager.token_ids[-1] == END


def test_what_is_complete_ends_by_itself() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        answer = ask(engine, choice=["exactly this"], ignore_eos=True)
        assert (answer.text, answer.finish_reason, answer.formed) == ("exactly this", "stop", True)
        assert len(answer.token_ids) == len(answer.text)


def test_what_may_go_on_does_where_ends_are_ignored() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        answer = ask(engine, regex="[a-c]+", ignore_eos=True, max_tokens=50)
        assert (len(answer.text), answer.finish_reason) == (50, "length")


def test_max_tokens_cut_it_short() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        assert ask(engine, schema=PAIRS, max_tokens=5).finish_reason == "length"


def test_a_stop_string_still_cuts() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        answer = ask(engine, choice=["one, two"], stop=",")
        assert (answer.text, answer.finish_reason) == ("one", "stop")


def test_a_stream_says_the_same() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        params = SamplingParams(schema=PAIRS, seed=7, max_tokens=400)
        said = "".join(update.text for update in engine.stream("say it", params))
        assert said == engine.generate("say it", params).text


def test_scores_beside_the_chosen_are_the_models_own() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        answer = ask(engine, choice=["xyz"], logprobs=1)
        assert answer.logprobs is not None
        assert any(one.top[0].token_id != one.token_id for one in answer.logprobs)


def test_what_cannot_be_followed_is_refused_before_anything_is_computed() -> None:
    talker = model()
    with engine_over(talker, tokenizer=ByteTokenizer()) as engine:
        for field, text in {"schema": '{"type":"foo"}', "regex": "(", "grammar": "start: none"}.items():
            with pytest.raises(InvalidParameter) as refused:
                ask(engine, **{field: text})
            assert refused.value.field == field
    assert talker.batches == []


def test_a_form_needs_a_tokenizer_that_tells_the_bytes_of_its_tokens() -> None:
    with engine_over(model()) as engine, pytest.raises(NoTokenizer):
        engine.generate([1, 2], SamplingParams(choice=["a"]))
    silent = ByteTokenizer()
    silent._vocabulary = replace(silent._vocabulary, pieces=None)
    with engine_over(model(), tokenizer=silent) as engine, pytest.raises(NoTokenBytes):
        engine.generate([1, 2], SamplingParams(choice=["a"]))


def test_what_no_token_of_the_model_can_write_ends_that_answer_alone() -> None:
    talker = FakeModel(vocabulary=100)  # no letters but capitals
    options = EngineOptions(kv_memory=1 << 20, page_size=4)
    with Engine(talker, ByteTokenizer(), options=options) as engine:
        answers = engine.generate(
            [[1, 2], [1, 2]],
            [SamplingParams(regex="[A-C]x", max_tokens=5), SamplingParams(regex="[A-C]X", max_tokens=5)],
        )
        assert [one.finish_reason for one in answers] == ["error", "stop"]
        engine.check()


@pytest.mark.parametrize("count", [2, 7])
def test_a_form_that_fails_in_the_midst_fails_that_answer_alone(count: int, alone: list[object]) -> None:
    fault = Fault("mask", request=2, after=3)
    with engine_over(model(), pages=2000, tokenizer=ByteTokenizer(), faults=[fault], sequences=16) as engine:
        answers = engine.generate(PROMPTS[:count], FORMS[:count])
        assert isinstance(answers[1].error, InjectedFault)
        others = [number for number in range(count) if number != 1]
        assert told([answers[number] for number in others]) == [alone[number] for number in others]


def test_a_form_that_cannot_be_compiled_is_told_to_who_asked() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer(), faults=[Fault("compile", times=1)]) as engine:
        with pytest.raises(InjectedFault):
            ask(engine, choice=["a"])
        assert ask(engine, choice=["a"]).text == "a"


def test_rolling_back_rolls_the_form_back() -> None:
    with engine_over(model(), tokenizer=ByteTokenizer()) as engine:
        params = SamplingParams(schema=PAIRS, temperature=0, max_tokens=100)
        expected = engine.generate([5, 6, 7], params).token_ids
        known = engine.submit([5, 6, 7], params)
        for _ in range(30):
            engine.step()
        wheel = engine._desk()._wheel
        sequence = wheel.scheduler.running[0]
        made = len(sequence.tokens)
        wheel.truncate(sequence, made - 8)
        again = [token for update in engine.follow(known) for token in update.token_ids]
        assert again[made - 3 :] == list(expected[made - 3 - 8 :])

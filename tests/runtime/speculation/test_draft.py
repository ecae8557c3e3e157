"""A draft model beside a model: what it must have in common with it, and what it may lack."""

from pathlib import Path

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.errors import DraftMismatch, InvalidParameter
from unillm.runtime.loading import Parts, vocabulary_difference
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel
from unillm.tests.runtime.speculation.guessing import Repeating, eager, speculator_of

GREEDY = SamplingParams(temperature=0, max_tokens=30)


def test_a_draft_with_other_tokens_is_refused_with_the_first_that_differs() -> None:
    ours, theirs = ByteTokenizer(), ByteTokenizer()
    parts, draft = Parts("big", FakeModel(), ours), Parts("small", FakeModel(), theirs)
    assert vocabulary_difference(parts, draft) is None
    theirs._vocabulary = theirs._vocabulary.__class__(
        **{name: getattr(theirs._vocabulary, name) for name in theirs._vocabulary.__slots__ if name != "tokens"},
        tokens=(*ours.tokens[:70], "!", *ours.tokens[71:]),
    )
    difference = vocabulary_difference(parts, draft)
    assert difference == "token 70 is 'F', in the draft '!'"
    error = DraftMismatch("small", "big", difference)
    assert str(error) == f"small cannot draft for big: their vocabularies differ: {difference}"
    assert error.hint == "choose a smaller model of the same family"


def test_without_tokenizers_the_sizes_must_agree() -> None:
    parts, draft = Parts("big", FakeModel(vocabulary=300)), Parts("small", FakeModel(vocabulary=299))
    assert vocabulary_difference(parts, draft) == "one has 300 tokens, the draft has 299"


def test_a_draft_that_is_named_but_not_loaded_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="draft is"):
        Engine(FakeModel(), options=EngineOptions(draft=Path("somewhere")))


@pytest.mark.parametrize(("vocabulary", "context"), [(200, 512), (300, 512), (258, 24)])
def test_a_draft_of_another_padding_or_a_shorter_context_helps_as_far_as_it_goes(vocabulary: int, context: int) -> None:
    prompts = [[10, 20, 30], [10, 255, 30], list(range(40))]
    with Engine(Repeating(), options=EngineOptions(draft="off")) as plain:
        expected = [done.token_ids for done in plain.generate(prompts, GREEDY)]
    draft = Repeating(vocabulary=vocabulary, context=context)
    with Engine(Repeating(), draft=draft) as engine:
        eager(engine)
        assert [done.token_ids for done in engine.generate(prompts, GREEDY)] == expected
        assert speculator_of(engine).error is None
        assert engine.stats().proposed > 0


def test_a_model_that_drafts_for_itself_is_always_right_at_any_temperature() -> None:
    with Engine(Repeating(), draft=Repeating()) as engine:
        eager(engine)
        done = engine.generate([1, 2, 3], SamplingParams(seed=3, temperature=1.0, max_tokens=60))
        assert done.timings.accepted == done.timings.proposed > 45


def test_nothing_of_a_mirror_is_left() -> None:
    with Engine(Repeating(), draft=Repeating()) as engine:
        eager(engine)
        engine.generate([[1, 2, 3], [4, 5]], GREEDY)
        proposer = speculator_of(engine).proposer
        assert proposer._mirrors == {}  # type: ignore[attr-defined]
        scheduler = proposer.scheduler  # type: ignore[attr-defined]
        scheduler.check()
        assert scheduler.is_idle

"""Every row of the zoo and every fixture through the engine: scores and answers are the same however a prompt is cut,
in what company it runs, what of it is found again and who gives way. Those that carry a state are in
`test_recurrent_models.py`, over longer texts.
"""

import pytest

from unillm.models.contract import Model
from unillm.tests.models.cases import CASES, Case
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, TOLERANCE, distance
from unillm.tests.runtime import test_recurrent_models as recurrent
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.test_recurrent_models import Real, follows
from unillm.tests.runtime.test_state_invariants import engine_for

pytestmark = pytest.mark.slow

ELSEWHERE = {*recurrent.SLOW, *recurrent.FIXTURES, "falcon-mamba", "jamba"}
ANSWER = 16


@pytest.fixture(
    scope="module", params=[case for case in CASES if case.name not in ELSEWHERE], ids=lambda case: case.name
)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def model(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return case.load(case.save(tmp_path_factory.mktemp("weights")), PLACE)


def real(case: Case, model: Model) -> Real:
    """All tokens at once are what others hold to the reference."""
    return Real(model, lambda ids: Pages(model).whole(ids), case.prompt)


def test_scores_are_those_of_the_whole_however_the_prompt_is_cut(case: Case, model: Model) -> None:
    """And the reference's."""
    ids = case.ids[: model.config.context]
    for budget in (7, 512):
        with engine_for(model, 1 << 22, page_size=8, batch_tokens=budget, sequences=4) as engine:
            cold, hit = engine.logits(ids), engine.logits(ids, start=len(ids) - 2)
            assert distance(cold, case.scores[: len(ids)]) <= TOLERANCE
            assert distance(hit, cold[-2:]) <= TOLERANCE
            assert engine.stats().cached_tokens == (len(ids) - 3) // 8 * 8
            engine.check()


@pytest.mark.parametrize("sharing", ["radix", "off"])
def test_who_gives_way_goes_on_as_if_nothing_had_been(case: Case, model: Model, sharing: str) -> None:
    """In company, in chunks, with what is found again and without."""
    longest = min(60, model.config.context) - ANSWER
    asked = [case.prompt(longest - 8 * seed, seed % 2) for seed in range(4)]
    limits = {"page_size": 8, "batch_tokens": 24, "sequences": 2}
    with engine_for(model, 1 << 22, **limits, prefix_cache=sharing, draft="off") as engine:
        numbers = []
        for urgency, ids in enumerate(asked):
            numbers.append(engine.submit(ids, greedy(ANSWER), priority=urgency))
            for _ in range(4):
                engine.step()
        answers = [list(engine.follow(number))[-1].completion for number in numbers]
        assert engine.stats().gave_way >= 2
        assert (engine.stats().cached_tokens > 0) == (sharing != "off")
        engine.check()
    for ids, answer in zip(asked, answers, strict=True):
        assert answer is not None
        follows(real(case, model), ids, answer.token_ids)

"""Every architecture with a state, through the engine: scores and answers are the same however a prompt is cut, in what
company it runs, what of it is found again and who gives way. The fakes of `test_state_invariants.py` try more of that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Model
from unillm.runtime.weights.load import load_model
from unillm.tests.models import test_dense_fixtures as fixtures
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import BY_NAME, PLACE, TOLERANCE, expected, prompt, reference, save
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.test_state_invariants import engine_for

SLOW = (
    *("mamba", "mamba-bias", "mamba2", "falcon-h1", "falcon-h1-unnormed", "granite4", "granite4-dense"),
    *("recurrent-gemma", "lfm2", "lfm2-moe", "qwen3-next", "qwen3.5", "qwen3.5-moe", "rwkv4", "llama4"),
)
FIXTURES = ("rwkv6", "rwkv7")  # of the authors' package: transformers has no class for them


@dataclass(frozen=True)
class Real:
    model: Model
    scores: Callable[[list[int]], Tensor]  # of all tokens at once, from elsewhere
    ask: Callable[[int, int], list[int]]  # a prompt of so many tokens, by a seed


@pytest.fixture(
    scope="module",
    params=["falcon-mamba", "jamba", *FIXTURES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Real:
    name: str = request.param
    if name in FIXTURES:
        return stored(name)
    row, folder = BY_NAME[name], tmp_path_factory.mktemp(name)
    return Real(
        load_model(save(reference(row), folder), PLACE),
        lambda ids: expected(reference(row), ids),
        lambda length, seed: prompt(row, length, seed),
    )


def stored(name: str) -> Real:
    """All tokens at once are what `test_rwkv.py` holds to the stored logits."""
    model = fixtures.load(name)
    known = fixtures.stored(name)[0]

    def ask(length: int, seed: int) -> list[int]:
        tokens = [token for ids in known[seed % len(known) :] + known for token in ids]
        return (tokens * length)[:length]

    return Real(model, lambda ids: Pages(model).whole(ids), ask)


def test_scores_are_the_references_however_the_prompt_is_cut(real: Real) -> None:
    ids = real.ask(200, 7)
    scores = real.scores(ids)
    for budget in (9, 50, 512):
        with engine_for(real.model, 1 << 22, page_size=8, batch_tokens=budget, sequences=4) as engine:
            assert close(engine.logits(ids), scores)
            assert close(engine.logits(ids, start=150), scores[150:])
            assert engine.stats().cached_tokens >= 128
            engine.check()


def test_answers_follow_the_scores_with_hits_and_company(real: Real) -> None:
    asked = [real.ask(30 + 40 * seed, seed) for seed in range(4)]
    with engine_for(real.model, 1 << 22, page_size=8, batch_tokens=40, sequences=3) as engine:
        for _ in range(2):
            for ids, done in zip(asked, engine.generate(asked, greedy(24)), strict=True):
                follows(real, ids, done.token_ids)
        assert engine.stats().cached_tokens > 0
        engine.check()
        last = engine.generate(asked[-1], greedy(24))
    assert list(last.token_ids) == real.model.generate(asked[-1], 24)


@pytest.mark.parametrize("sharing", ["radix", "off"])
def test_who_gives_way_goes_on_as_if_nothing_had_been(real: Real, sharing: str) -> None:
    """With nothing kept of it, all of it is computed again."""
    asked = [real.ask(50 + 9 * seed, seed) for seed in range(4)]
    with engine_for(real.model, 1 << 22, page_size=8, batch_tokens=40, sequences=2, prefix_cache=sharing) as engine:
        numbers = []
        for urgency, ids in enumerate(asked):
            numbers.append(engine.submit(ids, greedy(24), priority=urgency))
            for _ in range(6):
                engine.step()
        answers = [list(engine.follow(number))[-1].completion for number in numbers]
        assert engine.stats().gave_way >= 2
        engine.check()
    for ids, answer in zip(asked, answers, strict=True):
        follows(real, ids, answer.token_ids)  # type: ignore[union-attr]


def follows(real: Real, ids: list[int], answer: tuple[int, ...]) -> None:
    """Each token is the best of the reference's scores, where one is clearly the best."""
    scores = real.scores([*ids, *answer])[len(ids) - 1 : -1]
    best = scores.topk(2)
    clear = best.values[:, 0] - best.values[:, 1] > 2 * TOLERANCE * scores.abs().max()
    assert torch.equal(torch.tensor(answer)[clear], best.indices[clear, 0])
    assert clear.float().mean() > 0.8


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())

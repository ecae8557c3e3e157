"""Real models on the CPU's kernels: a row's bits do not depend on how many are computed beside it, so guesses change
none of them, sampled or not, steps replayed or not.
"""

from pathlib import Path

import pytest

from unillm.models.contract import Model
from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, EXACT, prompt, reference, save
from unillm.tests.runtime.speculation.guessing import eager

CHOICES = [
    SamplingParams(temperature=0, max_tokens=60, logprobs=2, repetition_penalty=1.05),
    SamplingParams(temperature=0, max_tokens=60, logprobs=0),
    SamplingParams(temperature=0.3, seed=2, max_tokens=60, logprobs=1, top_p=0.9),
]


@pytest.fixture(scope="module", params=["llama3.2", "mistral0.1"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if EXACT.kernels is None:
        pytest.skip("no CPU kernels here")
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_model(save(reference(BY_NAME[request.param]), folder), EXACT)


def engine_of(model: Model, draft: str | Model) -> Engine:
    options = EngineOptions(
        batch_tokens=64, sequences=4, kv_memory=1 << 22, page_size=8, draft=draft if isinstance(draft, str) else "off"
    )
    return Engine(model, options=options, draft=None if isinstance(draft, str) else draft)


def told(done: Completion) -> object:
    return done.token_ids, done.logprobs


def test_answers_and_their_logarithms_are_bit_for_bit_those_without_guesses(model: Model) -> None:
    prompts = [prompt(BY_NAME["llama3.2"], length, length) for length in (30, 45, 9)]
    prompts[1] = prompts[1][:12] * 4
    with engine_of(model, "off") as plain:
        alone = [told(plain.generate(ids, how)) for ids, how in zip(prompts, CHOICES, strict=True)]
    for draft in ("ngram", model):
        with engine_of(model, draft) as engine:
            eager(engine)
            assert [told(engine.generate(ids, how)) for ids, how in zip(prompts, CHOICES, strict=True)] == alone
            assert [told(done) for done in engine.generate(prompts, CHOICES)] == alone
            assert engine.stats().accepted > 10
            engine.check()

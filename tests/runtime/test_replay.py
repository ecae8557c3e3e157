"""Replayed steps give the same bits as steps that are computed call by call, in every architecture; and what cannot be
replayed is counted and said.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from unillm.models.contract import Batch, Model
from unillm.models.ops.cpu.kernels import Kernels
from unillm.runtime.bench.steps import measure_steps
from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.replay import Replays
from unillm.runtime.results import Completion
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo

PARAMS = SamplingParams(max_tokens=16, temperature=0.0, logprobs=3, ignore_eos=True)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    opened = Kernels.open(2)
    if opened is None:
        pytest.skip("the CPU kernels are not built here")
    return opened


def load(row: zoo.Row, folder: Path, kernels: Kernels | None) -> Model:
    """Experts in blocks: which of the plain ones a step needs is read on the host."""
    packed = _packed if row.mixed else None
    return load_model(zoo.save(zoo.reference(row), folder), replace(zoo.PLACE, kernels=kernels, quantize=packed))


def _packed(name: str, shape: tuple[int, ...]) -> str | None:
    return "Q8_0" if ("experts" in name or len(shape) == 3) and shape[-1] % 32 == 0 else None


def prompts(row: zoo.Row) -> list[list[int]]:
    return [zoo.prompt(row, length, seed=length) for length in (20, 5, 13)]


def answers(engine: Engine, row: zoo.Row) -> list[Completion]:
    """Of three requests that end at different times, and then of one alone."""
    lengths = [replace(PARAMS, max_tokens=count) for count in (16, 6, 11)]
    return [*engine.generate(prompts(row), lengths), *engine.generate(prompts(row)[:1], PARAMS)]


def replays_of(engine: Engine) -> Replays:
    return engine._desk().look(lambda wheel: wheel.runner.replays)


def open_engine(model: Model) -> Engine:
    return Engine(model, options=EngineOptions(kv_memory=4 << 20, page_size=8, draft="off"))


@pytest.mark.parametrize("row", zoo.rows(light=False))
def test_replayed_steps_are_the_steps_themselves(
    row: zoo.Row, kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(row, tmp_path, kernels)
    with open_engine(model) as engine:
        found = answers(engine, row)
        replays = replays_of(engine)
        assert replays.refused == {}
        assert replays.replayed > 10
    monkeypatch.setattr(Replays, "run", lambda *_: None)
    with open_engine(model) as engine:
        wanted = answers(engine, row)
    assert [one.token_ids for one in found] == [one.token_ids for one in wanted]
    assert [one.logprobs for one in found] == [one.logprobs for one in wanted]


class Reading(Model):
    """Reads its batch on the host, as no model should."""

    def __init__(self, inner: Model) -> None:
        super().__init__()
        self.inner, self.config, self.place, self.cache_spec = inner, inner.config, inner.place, inner.cache_spec  # type: ignore[method-assign]

    def forward(self, batch: Batch) -> Tensor:
        assert max(batch.contexts) > 0
        hidden: Tensor = self.inner(batch)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        return self.inner.logits(hidden)

    def weights(self) -> Iterator[Tensor]:
        return iter(())


def test_what_cannot_be_replayed_runs_as_ever_and_is_counted(kernels: Kernels, tmp_path: Path) -> None:
    row = zoo.ROWS[0]
    model = load(row, tmp_path, kernels)
    with open_engine(model) as engine, open_engine(Reading(model)) as other:
        assert [one.token_ids for one in answers(other, row)] == [one.token_ids for one in answers(engine, row)]
        replays = replays_of(other)
        assert replays.replayed == 0
        assert replays.refused["it reads the sequences' lengths on the host"] > 15


def test_the_share_of_kernels_in_a_step_is_measured(kernels: Kernels, tmp_path: Path) -> None:
    step, share = measure_steps(load(zoo.ROWS[0], tmp_path, kernels), runs=2)
    assert (step.name, share.name) == ("step", "in kernels")
    assert min(step.values) > 0
    assert all(0 < value < 100 for value in share.values)


def test_without_kernels_a_step_says_that_it_was_not_replayed(tmp_path: Path) -> None:
    (step,) = measure_steps(load(zoo.ROWS[0], tmp_path, None), runs=1)
    assert "not replayed" in step.about

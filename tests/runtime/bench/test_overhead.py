"""What a step costs beside the model is measured over as many layers, and as many sequences at once as it says."""

import pytest

from unillm.models.contract import CacheSpec, PagedLayer, StateLayer, StateTensor
from unillm.runtime.bench import overhead
from unillm.runtime.bench.overhead import SEQUENCES, STEPS, measure_overhead
from unillm.runtime.wheel import Outcome, Wheel
from unillm.tests.runtime.fakes import FakeModel


def test_every_step_that_is_measured_runs_all_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    turn, steps = Wheel.turn, overhead._steps

    def counted(wheel: Wheel) -> list[Outcome]:
        outcomes = turn(wheel)
        measured.append(len(outcomes))
        assert len(wheel.runner.pool.keys) == 5
        return outcomes

    def measuring(wheel: Wheel, before: overhead._Spent) -> tuple[float, float]:
        with monkeypatch.context() as patch:
            patch.setattr(Wheel, "turn", counted)
            return steps(wheel, before)

    monkeypatch.setattr(overhead, "_steps", measuring)
    figures = measure_overhead(FakeModel(layers=5), 2)
    assert measured == [SEQUENCES] * STEPS * 3
    assert [(one.name, one.unit, len(one.values)) for one in figures] == [
        ("preparation", "ms", 2),
        ("overhead", "ms", 2),
    ]
    assert all(0 < part < whole < 1000 for part, whole in zip(*(one.values for one in figures), strict=True))


def test_layers_that_keep_a_state_are_measured_too() -> None:
    class Mixed(FakeModel):
        def cache_spec(self) -> CacheSpec:
            state = StateLayer({"conv": StateTensor((64, 4)), "scan": StateTensor((64, 16))})
            return CacheSpec((PagedLayer(8, 64), state, PagedLayer(8, 64, window=32), state))

    assert all(figure.median > 0 for figure in measure_overhead(Mixed(), 1))

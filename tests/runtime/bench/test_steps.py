"""A step is timed of models that keep pages, states, or both."""

from pathlib import Path

import pytest

from unillm.runtime.bench.steps import measure_steps
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo


@pytest.mark.parametrize("name", ["llama2", "mamba", "jamba"])
def test_a_step_has_a_time(name: str, tmp_path: Path) -> None:
    step, *_ = measure_steps(load_model(zoo.save(zoo.reference(zoo.BY_NAME[name]), tmp_path), zoo.PLACE), 1)
    assert step.name == "step"
    assert min(step.values) > 0

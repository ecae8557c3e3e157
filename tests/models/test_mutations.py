"""The zoo can fail: whatever a careless hand might break in a family breaks its parity."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unillm.models.contract import Model
from unillm.models.parts.attention import Attention
from unillm.models.parts.linear import Linear
from unillm.models.parts.moe import Routing
from unillm.models.parts.scaling import Unscaled
from unillm.models.table import find
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance

# What a break must move the logits by, so that no tolerance ever hides it.
SEEN = 10 * zoo.TOLERANCE


def double_base(config: Any) -> Any:
    return replace(config, rope=replace(config.rope, theta=2 * config.rope.theta))


def no_scaling(config: Any) -> Any:
    return replace(config, rope=replace(config.rope, scaling=Unscaled()))


def larger_eps(config: Any) -> Any:
    return replace(config, eps=10 * config.eps)


def other_pairs(config: Any) -> Any:
    return replace(config, rope=replace(config.rope, interleaved=not config.rope.interleaved))


def loaded(row: zoo.Row, folder: Path, change: Callable[[Any], Any]) -> Model:
    weights = open_weights(zoo.save(zoo.reference(row), folder))
    family = find(weights.metadata.architecture, "safetensors")
    return family.load(weights, change(family.Config.from_hf(weights.metadata.config)), PLACE)


def moved(model: Model, row: zoo.Row, reference: Any = None) -> float:
    wanted = zoo.expected(reference or zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)
    return distance(Pages(model).whole(zoo.prompt(row)), wanted)


@pytest.mark.parametrize("change", [double_base, other_pairs])
@pytest.mark.parametrize("row", [row for row in zoo.rows(light=False) if row.values[0].rotary])
def test_a_wrong_number_in_the_config_shows(row: zoo.Row, change: Callable[[Any], Any], tmp_path: Path) -> None:
    assert moved(loaded(row, tmp_path, change), row) > SEEN


@pytest.mark.parametrize("row", [row for row in zoo.rows(light=False) if row.values[0].own_eps])
def test_a_wrong_eps_shows(row: zoo.Row, tmp_path: Path) -> None:
    assert moved(loaded(row, tmp_path, larger_eps), row) > SEEN


@pytest.mark.parametrize("row", [row for row in zoo.ROWS if row.scaled], ids=lambda row: row.name)
def test_a_scaling_left_out_shows(row: zoo.Row, tmp_path: Path) -> None:
    assert moved(loaded(row, tmp_path, no_scaling), row) > SEEN


@pytest.mark.parametrize("row", [row for row in zoo.ROWS if row.windowed], ids=lambda row: row.name)
def test_a_window_left_out_shows(row: zoo.Row, tmp_path: Path) -> None:
    model = loaded(row, tmp_path, lambda config: config)
    for module in model.modules():
        if isinstance(module, Attention):
            module.spec = replace(module.spec, window=None)
    assert moved(model, row) > SEEN


@pytest.mark.parametrize("name", ["llama-bias", "qwen2", "qwen3-window"])
def test_a_bias_left_out_shows(name: str, tmp_path: Path) -> None:
    """Each one alone, but for the keys': these shift all scores of a query alike where nothing rotates them."""
    row = zoo.BY_NAME[name]
    model = loaded(row, tmp_path, lambda config: config)
    biased = [module for module in model.modules() if isinstance(module, Linear)]
    for linear in biased:
        for index, bias in enumerate(linear.biases):
            if bias is not None:
                whole = linear.biases
                linear.biases = (*whole[:index], None, *whole[index + 1 :])
                assert moved(model, row) > zoo.TOLERANCE
                linear.biases = whole
    assert moved(model, row) <= zoo.TOLERANCE


def other_count(routing: Routing) -> Routing:
    return replace(routing, choices=routing.choices - 1 or 2)


def other_shares(routing: Routing) -> Routing:
    return replace(routing, normalised=not routing.normalised)


def other_scale(routing: Routing) -> Routing:
    return replace(routing, scale=1.1 * routing.scale)


@pytest.mark.slow
@pytest.mark.parametrize("change", [other_count, other_shares, other_scale])
@pytest.mark.parametrize(
    "row", [row for row in zoo.ROWS if row.mixed and row.family != "Phimoe"], ids=lambda row: row.name
)
def test_another_routing_shows(row: zoo.Row, change: Callable[[Routing], Routing], tmp_path: Path) -> None:
    def changed(config: Any) -> Any:
        return replace(config, mixture=replace(config.mixture, routing=change(config.mixture.routing)))

    assert moved(loaded(row, tmp_path, changed), row) > SEEN


@pytest.mark.parametrize("name", ["llama2", "llama3.2", "mistral0.1"])
def test_queries_and_keys_left_unpermuted_show(name: str, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    written = write_gguf(row, tmp_path, "F32", permuted=False)
    assert moved(load_model(written.files, PLACE), row, written.model) > SEEN

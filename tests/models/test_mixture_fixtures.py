"""Mixtures that transformers has no class for: tiny seeded checkpoints with the logits of DeepSeek's and Snowflake's
own code, and of a port of Grok-1.
"""

from dataclasses import replace

import pytest
import torch

from unillm.models.contract import Placement
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.test_dense_fixtures import FIXTURES, check_answers, furthest, load, stored
from unillm.tests.models.test_splits import check
from unillm.tests.models.zoo import distance, places

NAMES = ("deepseek_moe", "arctic", "grok1")


@places
@pytest.mark.parametrize("name", NAMES)
def test_all_logits_are_those_of_the_authors_code(name: str, place: Placement) -> None:
    assert furthest(load(name, place), name) <= zoo.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_are_those_of_the_authors_code(name: str) -> None:
    check_answers(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_may_be_cut_anywhere_and_batched(name: str) -> None:
    model, ids = load(name), stored(name)[0][0]
    whole = Pages(model).whole(ids)
    for sizes in ((1,) * len(ids), (3, len(ids) - 4, 1)):
        assert distance(Pages(model).pieces(ids, sizes), whole) <= zoo.TOLERANCE / 10
    together = Pages(model).run({0: ids, 1: ids[:5], 2: ids[:1]})
    assert distance(torch.cat((together[0], together[1])), torch.cat((whole, whole[:5]))) <= zoo.TOLERANCE / 10


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_number_shows(name: str) -> None:
    model = load(name)
    config = model.config
    routing = config.mixture.routing
    other = replace(config.mixture, routing=replace(routing, choices=routing.choices - 1))
    assert furthest(load(name, mixture=other), name) > 10 * zoo.TOLERANCE
    assert furthest(load(name, rope=replace(config.rope, theta=2 * config.rope.theta)), name) > 10 * zoo.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ranks_compute_what_one_does(name: str) -> None:
    row = replace(zoo.BY_NAME["llama2"], name=name)
    check(row, zoo.files_in(FIXTURES / name, "model.safetensors"), 2)

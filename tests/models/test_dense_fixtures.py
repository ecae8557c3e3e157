"""Dense families that transformers has no class for: tiny seeded checkpoints with the logits of their authors' code.

Those of InternLM 1, Baichuan 7B and MiniCPM are transformers' own models of the same arithmetic, laid out as their
authors publish it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor

from unillm.models.contract import Model, Placement
from unillm.models.parts.scaling import Scaling
from unillm.models.table import find
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import open_weights
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance, places

FIXTURES: Final = Path(__file__).parent / "fixtures"
NAMES: Final = (
    "qwen1",
    "internlm",
    "internlm2",
    "chatglm3",
    "baichuan_7b",
    "baichuan2_7b",
    "baichuan_13b_v1",
    "baichuan2_13b",
    "minicpm",
)


def load(name: str, place: Placement = PLACE, **changes: Any) -> Model:
    return load_files(name, zoo.files_in(FIXTURES / name, "model.safetensors"), place, **changes)


def load_files(name: str, files: ModelFiles, place: Placement, **changes: Any) -> Model:
    """A fixture's vocabulary is too small to tell Baichuan's versions apart, so that is said here."""
    weights = open_weights(files)
    family = find(weights.metadata.architecture, files.format)
    config = family.Config.from_hf(weights.metadata.config)
    if name.startswith("baichuan2"):
        changes["normed"] = True
    return family.load(weights, replace(config, **changes), place)


def stored(name: str) -> tuple[list[list[int]], Tensor, list[list[int]]]:
    """Prompts, their logits [prompts, tokens, vocabulary], and greedy answers."""
    arrays = np.load(FIXTURES / name / "expected.npz")
    return arrays["input_ids"].tolist(), torch.from_numpy(arrays["logits"]).float(), arrays["greedy"].tolist()


def furthest(model: Model, name: str) -> float:
    prompts, logits, _ = stored(name)
    return max(distance(Pages(model).whole(ids), wanted) for ids, wanted in zip(prompts, logits, strict=True))


def check_answers(name: str) -> None:
    """That the greedy answers are those that are stored, with or without their prompts."""
    prompts, _, answers = stored(name)
    model = load(name)
    for ids, answer in zip(prompts, answers, strict=True):
        fresh = answer[len(ids) :] if answer[: len(ids)] == ids else answer
        assert model.generate(ids, len(fresh)) == fresh


@places
@pytest.mark.parametrize("name", NAMES)
def test_all_logits_are_those_of_the_authors_code(name: str, place: Placement) -> None:
    assert furthest(load(name, place), name) <= zoo.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_are_too(name: str) -> None:
    check_answers(name)


@places
@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_may_be_cut_and_batched(name: str, place: Placement) -> None:
    model, (prompts, _, _) = load(name, place), stored(name)
    whole = {sequence: Pages(model).whole(ids) for sequence, ids in enumerate(prompts)}
    assert distance(Pages(model).pieces(prompts[0], (1, 11, 8)), whole[0]) <= zoo.TOLERANCE / 10
    for sequence, logits in Pages(model).run(dict(enumerate(prompts))).items():
        assert distance(logits, whole[sequence]) <= zoo.TOLERANCE / 10


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_config_shows(name: str) -> None:
    config = load(name).config
    changes: list[dict[str, Any]] = [{"eps": 0.3}]
    if config.rope is not None:
        changes.append({"rope": replace(config.rope, interleaved=not config.rope.interleaved)})
    assert all(furthest(load(name, **change), name) > 10 * zoo.TOLERANCE for change in changes)


@dataclass(frozen=True)
class OfWhole:
    """All positions turn as the last one of `length` does."""

    inner: Scaling
    length: int
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        return self.inner.frequencies(theta, dim, positions.clamp(min=self.length - 1))


def of_whole(length: int) -> Model:
    """Qwen 1 past the length that it was trained with, as its authors compute it: by the length of the whole text."""
    rope = load("qwen1_ntk_logn").config.rope
    return load("qwen1_ntk_logn", rope=replace(rope, scaling=OfWhole(rope.scaling, length)))


def test_positions_and_queries_of_qwen_1_grow_as_in_the_authors_code() -> None:
    """But for this: here a token turns by the length up to itself, so that what was read stays as it was."""
    prompts, _, answers = stored("qwen1_ntk_logn")
    assert furthest(of_whole(len(prompts[0])), "qwen1_ntk_logn") <= zoo.TOLERANCE
    assert furthest(load("qwen1_ntk_logn"), "qwen1_ntk_logn") > 10 * zoo.TOLERANCE
    for ids, answer in zip(prompts, answers, strict=True):
        everything = list(ids)
        for _ in answer:
            everything.append(int(Pages(of_whole(len(everything))).whole(everything)[-1].argmax()))
        assert everything[len(ids) :] == answer


def test_growth_left_out_shows() -> None:
    model = load("qwen1_ntk_logn", grown=None, rope=of_whole(20).config.rope)
    assert furthest(model, "qwen1_ntk_logn") > 10 * zoo.TOLERANCE

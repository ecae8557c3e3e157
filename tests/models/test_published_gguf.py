"""GGUF of mixtures, and of what transformers has no class for: it computes as the published files do."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unillm.models.contract import Model
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import long_factor
from unillm.tests.models.paged import Pages
from unillm.tests.models.published_gguf import write
from unillm.tests.models.test_dense_fixtures import FIXTURES, stored
from unillm.tests.models.zoo import PLACE, distance
from unillm.tests.support.llama_cpp import LlamaCpp


# GGUF has no place for InternLM 1, and takes Baichuan for the 13B one where there are 40 layers.
def stated(row: zoo.Row) -> zoo.Row:
    """How near Phi's second expert must come has no key, and its factor of turns is always the formula's."""
    if row.family != "Phimoe":
        return row
    rope = row.settings["rope_parameters"]
    usual = dict.fromkeys(("short_mscale", "long_mscale"), long_factor(256, rope["original_max_position_embeddings"]))
    settings = {**row.settings, "router_jitter_noise": 0.01, "rope_parameters": {**rope, **usual}}
    return replace(row, name=f"{row.name}-stated", settings=settings)


NAMES = ("arctic", "baichuan_7b", "chatglm3", "deepseek_moe", "grok1", "internlm2", "minicpm", "qwen1")
ROWS = [stated(zoo.BY_NAME[name]) for name in ("granite-moe", "granite-moe-shared", "dbrx", "phi3.5-moe")]
# llama.cpp takes a Baichuan for the one whose positions turn where there are 32 layers.
KNOWN = [name for name in NAMES if name != "baichuan_7b"]
# It looks GELU up in a table of halves.
COARSE = {"grok1"}
FAINT = -30.0
PARTS = range(3 + 128, 3 + 256)  # bytes that are no characters


def fixture(name: str, folder: Path) -> ModelFiles:
    return write(zoo.files_in(FIXTURES / name, "model.safetensors"), folder)


def of_row(row: zoo.Row, folder: Path) -> ModelFiles:
    (folder / "published").mkdir()
    return write(zoo.save(zoo.reference(row), folder / "published"), folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_gives_the_logits_of_the_authors_code(name: str, tmp_path: Path) -> None:
    model = load_model(fixture(name, tmp_path), PLACE)
    prompts, logits, _ = stored(name)
    for ids, wanted in zip(prompts, logits, strict=True):
        assert distance(Pages(model).whole(ids), wanted) <= zoo.TOLERANCE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_gguf_gives_the_logits_of_the_reference(row: zoo.Row, tmp_path: Path) -> None:
    model = load_model(of_row(row, tmp_path), PLACE)
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_llama_cpp_agrees_about_the_fixture(name: str, tmp_path: Path) -> None:
    files = fixture(name, tmp_path)
    agree(load_model(files, PLACE), files, stored(name)[0][0], 1e-2 if name in COARSE else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.family != "Phimoe"], ids=lambda row: row.name)
def test_llama_cpp_agrees_about_the_row(row: zoo.Row, tmp_path: Path) -> None:
    """It knows nothing of how Phi chooses experts."""
    files = of_row(row, tmp_path)
    agree(load_model(files, PLACE), files, zoo.prompt(row), 1e-4)


def agree(model: Model, files: ModelFiles, ids: list[int], within: float) -> None:
    """Where the next token is a whole character: llama.cpp says nothing of others."""
    peer = LlamaCpp(files.weights[0])
    told = [length for length in range(1, len(ids) + 1) if int(scores(model, ids[:length]).argmax()) not in PARTS]
    for length in (told[0], told[-1]):
        got = scores(model, ids[:length])
        wanted = peer.log_probabilities(ids[:length], len(got)).clamp(min=FAINT)
        assert float((got - wanted).abs().max()) <= within


def scores(model: Model, ids: list[int]) -> torch.Tensor:
    return Pages(model).whole(ids)[-1].log_softmax(-1).clamp(min=FAINT)

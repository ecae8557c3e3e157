"""GGUF files of models whose layers carry a state: the reference's logits, and llama.cpp's."""

from dataclasses import replace
from pathlib import Path

import pytest

from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.recurrent_gguf import FAMILIES, write
from unillm.tests.models.zoo import PLACE, distance
from unillm.tests.support.llama_cpp import LlamaCpp

# What a file has no key for: norms before gates; queries and keys of Llama 4 that are not normed.
NO_KEYS = {"falcon-h1", "llama4-unnormed"}


def stated(row: zoo.Row) -> zoo.Row:
    """Nor has Llama 4 keys for its chunks, and for how sharply far tokens ask: they are the same in all files."""
    if row.family != "Llama4":
        return row
    settings = {**row.settings, "attention_chunk_size": 8192, "floor_scale": 8192, "attn_scale": 0.1}
    return replace(row, name=f"{row.name}-stated", settings=settings)


ROWS = [stated(row) for row in zoo.ROWS if row.family in FAMILIES and row.name not in NO_KEYS]
FAINT = -30.0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_gguf_gives_the_logits_of_the_reference(row: zoo.Row, tmp_path: Path) -> None:
    model = load_model(write(row, tmp_path), PLACE)
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.parametrize("rewritten", [False, True])
def test_one_group_may_have_lost_its_dimension(rewritten: bool, tmp_path: Path) -> None:
    row = zoo.BY_NAME["mamba2"]
    row = replace(row, name="mamba2-one-group", settings={**row.settings, "n_groups": 1})
    model = load_model(write(row, tmp_path, rewritten=rewritten), PLACE)
    assert (
        distance(Pages(model).whole(zoo.prompt(row)), zoo.expected(zoo.reference(row), zoo.prompt(row)))
        <= zoo.TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_llama_cpp_agrees_about_the_file(row: zoo.Row, tmp_path: Path) -> None:
    """It takes the values of a delta net to be as wide as its keys, and puts what norms have under the roots of keys'
    lengths too, where the reference always has 1e-6; in published files both are the same.
    """
    if "linear_value_head_dim" in row.settings:
        published = {"linear_value_head_dim": 12, "rms_norm_eps": 1e-6}
        row = replace(row, name=f"{row.name}-even", settings={**row.settings, **published})
    files, ids = write(row, tmp_path), zoo.prompt(row)
    model, peer = load_model(files, PLACE), LlamaCpp(files.weights[0])
    for length in (1, 5, 40, zoo.PROMPT):
        got = Pages(model).whole(ids[:length])[-1].log_softmax(-1).clamp(min=FAINT)
        wanted = peer.log_probabilities(ids[:length], len(got)).clamp(min=FAINT)
        assert float((got - wanted).abs().max()) <= 1e-4

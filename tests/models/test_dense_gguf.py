"""Dense families from GGUF: the reference's logits, from keys, names and layouts as llama.cpp's converter has them."""

from dataclasses import replace
from pathlib import Path

import pytest

from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.dense_gguf import FAMILIES, write
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance
from unillm.tests.support.llama_cpp import LlamaCpp

NO_KEYS = {"falcon-rw"}  # GGUF cannot say that a Falcon has slopes


def stated(row: zoo.Row) -> zoo.Row:
    """A scale that is not of a head's width has no key either."""
    if "query_pre_attn_scalar" not in row.settings:
        return row
    settings = {**row.settings, "query_pre_attn_scalar": row.settings["head_dim"]}
    return replace(row, name=f"{row.name}-stated", settings=settings)


ROWS = [stated(row) for row in zoo.DENSE if row.family in FAMILIES and row.name not in NO_KEYS]

# llama.cpp knows no window for these, reads LongRoPE's divisors by the context that it is started with, norms heads of
# Command R only where there are 64 layers, and does not start with so small a GLM.
UNLIKE = {"phi3", "phi3.5", "starcoder2", "command-r-plus", "glm4-9b"}
# It looks GELU up in a table of halves.
COARSE = {"Gemma", "Gemma2", "Gemma3", "Falcon", "GPT2", "GPTBigCode", "GPTNeoX", "Phi", "Bloom", "Mpt"}
FAINT = -30.0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_gguf_gives_the_logits_of_the_reference(row: zoo.Row, tmp_path: Path) -> None:
    model = load_model(write(row, tmp_path), PLACE)
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in UNLIKE], ids=lambda row: row.name)
def test_llama_cpp_agrees_about_the_file(row: zoo.Row, tmp_path: Path) -> None:
    files, ids = write(row, tmp_path), zoo.prompt(row)
    model, peer = load_model(files, PLACE), LlamaCpp(files.weights[0])
    for length in (1, 5, 40, zoo.PROMPT):
        got = Pages(model).whole(ids[:length])[-1].log_softmax(-1).clamp(min=FAINT)
        wanted = peer.log_probabilities(ids[:length], len(got)).clamp(min=FAINT)
        assert float((got - wanted).abs().max()) <= (2e-2 if row.family in COARSE else 1e-3)

"""GGUF files against llama.cpp itself, where its wheel is installed: the scores of the token after a prompt.

llama.cpp rounds activations to 8 bits before it multiplies them with packed weights, so only F32 files agree closely.
"""

from pathlib import Path

import pytest

from unillm.models.contract import Placement
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import K_KINDS, QUANTISED_KINDS, write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE
from unillm.tests.support.llama_cpp import LlamaCpp

# It knows no window for these, chooses LongRoPE's divisors by the context it is started with, and takes YaRN's factor
# on attention from the formula whatever the file says. It takes DeepSeek V2 for Lite by its number of layers,
# and rounds YaRN's borders for gpt-oss, which does not: see test_gpt_oss.py.
UNLIKE = {"mistral0.1", "llama-longrope", "llama-yarn-sharp", "deepseek-v2-lite", "gpt-oss"}
ROWS = [row for row in zoo.rows(light=False) if row.values[0].gguf and row.values[0].name not in UNLIKE]

# Where a score is this far below the best, its probability is lost in rounding.
FAINT = -30.0


def furthest(row: zoo.Row, kind: str, folder: Path, place: Placement = PLACE) -> float:
    """The largest difference of a log probability, after prompts of several lengths."""
    files = write_gguf(row, folder, kind).files
    model, peer, ids = load_model(files, place), LlamaCpp(files.weights[0]), zoo.prompt(row)
    differences = []
    for length in (1, 5, 40, zoo.PROMPT):
        got = Pages(model).whole(ids[:length])[-1].log_softmax(-1).clamp(min=FAINT)
        wanted = peer.log_probabilities(ids[:length], len(got)).clamp(min=FAINT)
        differences.append(float((got - wanted).abs().max()))
    return max(differences)


@pytest.mark.parametrize("row", ROWS)
def test_plain_files_agree(row: zoo.Row, tmp_path: Path) -> None:
    assert furthest(row, "F32", tmp_path) <= 1e-4


@zoo.places
@pytest.mark.parametrize("kind", QUANTISED_KINDS)
@pytest.mark.parametrize("name", ["llama2", "qwen2", "qwen3"])
def test_quantised_files_agree_but_for_rounded_activations(
    name: str, kind: str, place: Placement, tmp_path: Path
) -> None:
    assert furthest(zoo.BY_NAME[name], kind, tmp_path, place) <= 0.2


@zoo.places
@pytest.mark.parametrize("kind", K_KINDS)
@pytest.mark.parametrize("name", ["llama2", "qwen2", "qwen3"])
def test_files_in_blocks_of_256_agree_but_for_rounded_activations(
    name: str, kind: str, place: Placement, tmp_path: Path
) -> None:
    assert furthest(zoo.BY_NAME[name].wide(), kind, tmp_path, place) <= 0.2


def test_a_wrong_file_would_show(tmp_path: Path) -> None:
    """Unpermuted queries and keys move scores by far more than rounding does."""
    row = zoo.BY_NAME["llama2"]
    peer = LlamaCpp(write_gguf(row, tmp_path, "Q8_0", permuted=False).files.weights[0])
    (tmp_path / "right").mkdir()
    model = load_model(write_gguf(row, tmp_path / "right", "Q8_0").files, PLACE)
    ids = zoo.prompt(row)
    got = Pages(model).whole(ids)[-1].log_softmax(-1)
    assert float((got - peer.log_probabilities(ids, len(got))).abs().max()) > 1.0

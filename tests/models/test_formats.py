"""Each family gives the reference's logits from every format that its weights come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unillm.models.contract import Model, Placement
from unillm.models.quantized import FILE, TILED, QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.bin_files import write_bin, write_bin_shards, write_safetensors_shards
from unillm.tests.models.gguf_files import K_KINDS, PLAIN_KINDS, QUANTISED_KINDS, write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance

FAMILIES = ("llama2", "llama3.2", "llama-bias", "mistral0.1", "qwen2", "qwen3")
MIXTURES = ("mixtral", "qwen2-moe")
FORMED = (*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in MIXTURES))


def write_old_bin(model: Any, folder: Path) -> ModelFiles:
    return write_bin(model, folder, zipped=False)


@pytest.mark.parametrize("write", [write_safetensors_shards, write_bin, write_bin_shards, write_old_bin])
@pytest.mark.parametrize("name", FORMED)
def test_files_of_the_hub(name: str, write: Callable[[Any, Path], ModelFiles], tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    model = load_model(write(zoo.reference(row), tmp_path), PLACE)
    check(model, row, zoo.reference(row))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", FORMED)
def test_narrow_weights_are_computed_with_as_they_are_stored(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    narrow = zoo.rounded(zoo.reference(row), dtype)
    model = load_model(zoo.save(narrow, tmp_path), PLACE)
    matrices = [weight for weight in model.weights() if len(weight.shape) > 1]
    assert {weight.dtype for weight in matrices if isinstance(weight, torch.Tensor)} == {dtype}
    check(model, row, narrow.float())


@pytest.mark.parametrize("row", [row for row in zoo.ROWS if row.gguf], ids=lambda row: row.name)
def test_gguf_keys(row: zoo.Row, tmp_path: Path) -> None:
    """What is special in each row, as GGUF states it."""
    written = write_gguf(row, tmp_path, "F32")
    check(load_model(written.files, PLACE), row, written.model)


@zoo.places
@pytest.mark.parametrize("kind", PLAIN_KINDS[1:] + QUANTISED_KINDS)
@pytest.mark.parametrize("name", FORMED)
def test_gguf_kinds(name: str, kind: str, place: Placement, tmp_path: Path) -> None:
    check_gguf(zoo.BY_NAME[name], kind, place, tmp_path)


@zoo.places
@pytest.mark.parametrize("kind", K_KINDS)
@pytest.mark.parametrize("name", FORMED)
def test_gguf_kinds_of_256_numbers_a_block(name: str, kind: str, place: Placement, tmp_path: Path) -> None:
    check_gguf(zoo.BY_NAME[name].wide(), kind, place, tmp_path)


@zoo.places
def test_a_gguf_may_mix_kinds(place: Placement, tmp_path: Path) -> None:
    """As the files called Q4_K_M do, and worse."""
    row = zoo.BY_NAME["qwen2"].wide()
    others = {"v_proj": "Q6_K", "k_proj": "F16", "embed": "Q8_0", "up_proj": "Q5_0", "layers.1.mlp.down": "F32"}
    written = write_gguf(row, tmp_path, "Q4_K", others=others)
    check(load_model(written.files, place), row, written.model)


def check_gguf(row: zoo.Row, kind: str, place: Placement, folder: Path) -> None:
    written = write_gguf(row, folder, kind)
    model = load_model(written.files, place)
    packed = {(weight.kind, weight.layout) for weight in model.weights() if isinstance(weight, QuantizedTensor)}
    layout = FILE if place.kernels is None else TILED
    assert packed == (set() if kind in PLAIN_KINDS else {(kind, layout)})
    check(model, row, written.model)


def check(model: Model, row: zoo.Row, reference: Any) -> None:
    wanted = zoo.expected(reference, zoo.prompt(row), stepwise=row.stepwise)
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE

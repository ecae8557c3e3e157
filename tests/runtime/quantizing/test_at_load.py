"""Plain weights that are packed as they load: held against the same numbers packed beforehand, and unpacked."""

import copy
from pathlib import Path

import pytest
import torch

from unillm.models.config import ModelConfig
from unillm.models.contract import Placement
from unillm.models.encoding import packed
from unillm.models.quantized import INT8, QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.runtime.errors import InvalidParameter
from unillm.runtime.quantizing.at_load import CHOICES, chooser
from unillm.runtime.weights.load import build_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages

KINDS = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_k": "Q4_K", "int8": INT8}


@zoo.places
@pytest.mark.parametrize("choice", sorted(CHOICES))
@pytest.mark.parametrize("name", ["llama2", "qwen3"])
def test_scores_are_those_of_the_rounded_numbers(name: str, choice: str, place: Placement, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name].wide()
    files, ids = zoo.save(zoo.reference(row), tmp_path), zoo.prompt(row)
    model = build_model(open_weights(files), place, name, quantize=choice)
    assert {one.kind for one in model.weights() if isinstance(one, QuantizedTensor)} >= {KINDS[choice]}
    found = Pages(model).whole(ids)[-1]
    assert zoo.distance(found, zoo.expected(_rounded(row, choice, files), ids)[-1]) <= 1e-3


def _rounded(row: zoo.Row, choice: str, files: ModelFiles) -> torch.nn.Module:
    """The reference with the numbers that its matrices' blocks hold."""
    model: torch.nn.Module = copy.deepcopy(zoo.reference(row))
    loader = open_weights(files)
    config = _config(row)
    choose = chooser(choice, loader.tensor_names(), config)
    for name, parameter in model.named_parameters():
        kind = choose(name, tuple(parameter.shape))
        if kind is not None:
            parameter.data.copy_(packed(kind, parameter.data).dequantize())
    return model


def _config(row: zoo.Row) -> ModelConfig:
    from unillm.models.table import find

    return find(f"{row.family}ForCausalLM", "safetensors").Config.from_hf(zoo.keys_of(row))


def test_rows_of_bytes_have_a_scale_each() -> None:
    x = torch.randn(40, 96, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 40)[:, None]
    weight = packed(INT8, x)
    assert weight.nbytes == 40 * 96 + 40 * 4
    errors = (weight.dequantize() - x).abs().amax(1) / x.abs().amax(1)
    assert float(errors.max()) <= 0.5 / 127 + 1e-6


def test_a_choice_that_is_not_there_is_named(tmp_path: Path) -> None:
    files = zoo.save(zoo.reference(zoo.BY_NAME["llama2"]), tmp_path)
    with pytest.raises(InvalidParameter, match="int8"):
        build_model(open_weights(files), zoo.PLACE, "it", quantize="q3")


def test_packed_weights_are_not_packed_again(tmp_path: Path) -> None:
    files = write_gguf(zoo.BY_NAME["llama2"], tmp_path, "Q8_0").files
    with pytest.raises(InvalidParameter, match="already"):
        build_model(open_weights(files), zoo.PLACE, "it", quantize="q8_0")

"""gpt-oss as published: experts in MXFP4 blocks, held against the reference with the numbers that its own library
unpacks from them.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from unillm.models.contract import Placement
from unillm.models.parts.attention import Attention
from unillm.models.parts.scaling import Yarn
from unillm.models.quantized import QuantizedTensor
from unillm.models.text.gpt_oss import GptOss, GptOssConfig
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.test_splits import check
from unillm.tests.support.llama_cpp import LlamaCpp

ROW = zoo.BY_NAME["gpt-oss"]


def blocks_like(numbers: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random blocks [experts, out, blocks, 16] and their scales, about as large as `numbers` [experts, in, out]."""
    experts, columns, rows = numbers.shape
    shape = (experts, rows, columns // 32)
    blocks = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
    return blocks, torch.randint(122, 125, shape, generator=generator, dtype=torch.uint8)


def write_published(folder: Path) -> tuple[ModelFiles, Any]:
    """The files, and the reference with the numbers that are in them."""
    model, generator = copy.deepcopy(zoo.reference(ROW)), torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = parameter.detach().contiguous()
            continue
        blocks, scales = blocks_like(parameter, generator)
        tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
        parameter.data.copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
    model.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors")
    return zoo.files_in(folder, "model.safetensors"), model


@zoo.places
def test_published_experts_stay_in_their_blocks(place: Placement, tmp_path: Path) -> None:
    files, reference = write_published(tmp_path)
    model = load_model(files, place)
    packed = [weight for weight in model.weights() if isinstance(weight, QuantizedTensor)]
    assert {weight.kind for weight in packed} == {"MXFP4"}
    assert len(packed) == 3 * 3
    wanted = zoo.expected(reference, zoo.prompt(ROW))
    assert zoo.distance(Pages(model).whole(zoo.prompt(ROW)), wanted) <= zoo.TOLERANCE


def test_llama_cpp_agrees_where_yarns_borders_are_rounded(tmp_path: Path) -> None:
    """As it has them, whatever the model was trained with."""
    files = write_gguf(ROW, tmp_path, "F32").files
    weights, peer, ids = open_weights(files), LlamaCpp(files.weights[0]), zoo.prompt(ROW)
    config = GptOss.Config.from_gguf(weights.metadata.config)
    assert isinstance(config, GptOssConfig)
    assert config.rope is not None
    scaling = config.rope.scaling
    assert isinstance(scaling, Yarn)
    rope = replace(config.rope, scaling=replace(scaling, truncate=True))
    got = Pages(GptOss.load(weights, replace(config, rope=rope), zoo.PLACE)).whole(ids)[-1].log_softmax(-1)
    assert float((got - peer.log_probabilities(ids, len(got))).abs().max()) <= 1e-4


def test_ranks_divide_published_experts_at_their_blocks(tmp_path: Path) -> None:
    """96 numbers are three blocks: one rank has two of them."""
    check(ROW, write_published(tmp_path)[0], 2)


@pytest.mark.slow
def test_ranks_divide_plain_experts(tmp_path: Path) -> None:
    check(ROW, zoo.save(zoo.reference(ROW), tmp_path), 2)


def test_a_sink_left_out_shows(tmp_path: Path) -> None:
    model = load_model(zoo.save(zoo.reference(ROW), tmp_path), zoo.PLACE)
    for module in model.modules():
        if isinstance(module, Attention):
            module.spec = replace(module.spec, sinks=None)
    wanted = zoo.expected(zoo.reference(ROW), zoo.prompt(ROW))
    assert zoo.distance(Pages(model).whole(zoo.prompt(ROW)), wanted) > 10 * zoo.TOLERANCE

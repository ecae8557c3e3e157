"""Whole models whose matrices some other tool has packed: as the reference computes them from the same numbers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from unillm.models.contract import Placement
from unillm.models.errors import ConfigError, SplitError, WeightsError
from unillm.models.quantized import QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.runtime.engine import Engine
from unillm.runtime.errors import InvalidParameter, NotWritable
from unillm.runtime.options import EngineOptions
from unillm.runtime.quantizing.convert import quantize_model
from unillm.runtime.weights.load import build_model, load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.published.packers import FORMATS
from unillm.tests.models.test_splits import check, ranks
from unillm.tests.runtime.engines import greedy

_SIZES: Final = {"intermediate_size": 128, "num_hidden_layers": 2}
LLAMA: Final = zoo.Row("packed-llama", "Llama", _SIZES)
MIXTRAL: Final = zoo.Row("packed-mixtral", "Mixtral", {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2})
BIASED: Final = zoo.Row("packed-qwen2", "Qwen2", _SIZES)

_OF_EXPERT: Final = re.compile(r"(.*\.experts)\.(\d)\.w([123])\.weight(_scale_inv)?")

# What a model that computes with kernels has of each.
_KINDS: Final = {  # E4M3 is FP8 whose columns fill their blocks
    "gptq": ["Q4_0"],
    "gptq-order": ["Q5_0"],
    "gptq-3-bits": ["Q4_0"],
    "awq": ["Q5_0"],
    "fp8-blocks": ["FP8"],
    "fp8-small-blocks": ["FP8"],
    "fp8-whole": ["E4M3", "FP8"],
    "nf4": ["NF4"],
    "nvfp4": ["NVFP4"],
    "nvfp4-optimizer": ["NVFP4"],
    "fp8-optimizer": ["E4M3", "FP8"],
    "llm-int8": ["INT8"],
    "int4": ["Q4_0"],
    "int4-zeros": ["Q5_0"],
    "int8": ["INT8"],
    "fp8-rows": ["E4M3", "FP8"],
}


def write(row: zoo.Row, name: str, folder: Path) -> tuple[ModelFiles, Any]:
    """The files, and the reference with the numbers that are in them."""
    (folder / "plain").mkdir()
    section, packer = FORMATS[name]
    plain = load_file(zoo.save(zoo.reference(row), folder / "plain").weights[0])
    packed, meant = dict[str, Tensor](), dict(plain)
    for weight in [one for one in plain if one.endswith(("_proj.weight", ".w1.weight", ".w2.weight", ".w3.weight"))]:
        tensors, meant[weight] = packer(plain[weight])
        packed |= {f"{weight.removesuffix('.weight')}.{end}": one.contiguous() for end, one in tensors.items()}
        del plain[weight]
    config = json.loads((folder / "plain" / "config.json").read_text("utf-8"))
    save_file(meant, folder / "plain" / "model.safetensors", {"format": "pt"})
    reference = AutoModelForCausalLM.from_pretrained(folder / "plain", dtype=torch.float32, attn_implementation="eager")
    return write_packed(folder, plain | packed, config, section), reference


def write_packed(folder: Path, tensors: dict[str, Tensor], config: Any, section: Mapping[str, Any]) -> ModelFiles:
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": section}), "utf-8")
    save_file(tensors, folder / "model.safetensors")
    return zoo.files_in(folder, "model.safetensors")


def held(row: zoo.Row, name: str, folder: Path) -> None:
    files, reference = write(row, name, folder)
    ids = zoo.prompt(row)
    wanted = zoo.expected(reference, ids)
    for place in (zoo.PLACE, zoo.EXACT):
        assert zoo.distance(Pages(load_model(files, place)).whole(ids), wanted) <= zoo.TOLERANCE


def packed_kinds(files: ModelFiles, place: Placement) -> set[str]:
    return {weight.kind for weight in load_model(files, place).weights() if isinstance(weight, QuantizedTensor)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_packed_model_computes_what_the_reference_does(name: str, tmp_path: Path) -> None:
    held(LLAMA, name, tmp_path)
    if zoo.EXACT.kernels is not None:
        assert sorted(packed_kinds(zoo.files_in(tmp_path, "model.safetensors"), zoo.EXACT)) == _KINDS[name]


@pytest.mark.parametrize(
    "name",
    [
        "awq",
        "fp8-blocks",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("gptq", "gptq-order", "nf4", "int4")),
    ],
)
def test_a_packed_mixture_computes_what_the_reference_does(name: str, tmp_path: Path) -> None:
    held(MIXTRAL, name, tmp_path)


@pytest.mark.parametrize("shared", [False, True], ids=["blocks", "a scale each"])
def test_experts_that_transformers_has_stacked_are_read_each_by_itself(shared: bool, tmp_path: Path) -> None:
    """Under the names of its modules, as its version 5 packs them: gate above up."""
    files, reference = write(MIXTRAL, "fp8-whole" if shared else "fp8-blocks", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    files = write_packed(tmp_path, _as_modules(load_file(files.weights[0])), config, config["quantization_config"])
    ids = zoo.prompt(MIXTRAL)
    wanted = zoo.expected(reference, ids)
    for place in (zoo.PLACE, zoo.EXACT):
        model = load_model(files, place)
        assert zoo.distance(Pages(model).whole(ids), wanted) <= zoo.TOLERANCE
        packed = [weight for weight in model.weights() if isinstance(weight, QuantizedTensor)]
        matrices = sum(weight.shape[0] if len(weight.shape) == 3 else 1 for weight in packed)  # of stacked experts too
        assert matrices == 2 * (4 + 3 * 4)
    check(MIXTRAL, files, 2)


def _as_modules(plain: dict[str, Tensor]) -> dict[str, Tensor]:
    apart: dict[str, list[list[Tensor]]] = {}
    found = {}
    for name, tensor in plain.items():
        new = re.sub(r"weight_scale$", "weight_scale_inv", name).replace("block_sparse_moe", "mlp")
        part = _OF_EXPERT.fullmatch(new)
        if part is None:
            found[new] = tensor
            continue
        home, expert, which, scales = part.groups()
        projection = "down_proj" if which == "2" else "gate_up_proj"
        matrices = apart.setdefault(f"{home}.{projection}{scales or ''}", [[] for _ in range(4)])
        matrices[int(expert)].append(tensor.reshape(1, 1) if tensor.dim() < 2 else tensor)
    stacked = {name: torch.stack([torch.cat(each) for each in experts]) for name, experts in apart.items()}
    return {**found, **stacked}


def test_an_older_file_of_model_optimizer_says_what_it_is_beside_its_config(tmp_path: Path) -> None:
    files, reference = write(LLAMA, "nvfp4-optimizer", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    said = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(said), "utf-8")
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": None}), "utf-8")
    model = load_model(zoo.files_in(tmp_path, files.weights[0].name), zoo.PLACE)
    ids = zoo.prompt(LLAMA)
    assert zoo.distance(Pages(model).whole(ids), zoo.expected(reference, ids)) <= zoo.TOLERANCE


def test_latents_come_from_packed_matrices(tmp_path: Path) -> None:
    """As DeepSeek publishes its third version."""
    held(zoo.BY_NAME["deepseek-v3"], "fp8-small-blocks", tmp_path)


@pytest.mark.parametrize("name", ["gptq", "fp8-blocks"])
def test_the_engine_answers_as_the_reference_does(name: str, tmp_path: Path) -> None:
    files, reference = write(LLAMA, name, tmp_path)
    ids = zoo.prompt(LLAMA, 20)
    wanted = reference.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, 20:]
    for place in (zoo.PLACE, zoo.EXACT):
        with Engine(load_model(files, place), options=EngineOptions(kv_memory=1 << 22)) as engine:
            assert list(engine.generate(ids, greedy(12)).token_ids) == wanted.tolist()


@pytest.mark.parametrize("name", ["gptq", "gptq-order", "awq", "fp8-blocks", "int4-zeros"])
def test_ranks_divide_packed_matrices_at_their_groups(name: str, tmp_path: Path) -> None:
    check(LLAMA, write(LLAMA, name, tmp_path)[0], 2)


def test_a_block_that_two_ranks_would_need_is_refused_by_name(tmp_path: Path) -> None:
    """64 numbers are one block of bitsandbytes, and two heads for each rank."""
    files, _ = write(LLAMA, "nf4", tmp_path)
    with pytest.raises(SplitError, match=r"self_attn\.o_proj\.weight cannot be divided over 2 ranks.*blocks of 64"):
        ranks(files, 2)


@pytest.mark.parametrize("name", ["gptq", "awq", "fp8-blocks", "nf4", "int4"])
def test_without_kernels_matrices_lie_in_their_file(name: str, tmp_path: Path) -> None:
    files, _ = write(LLAMA, name, tmp_path)
    size = files.weights[0].stat().st_size
    for weight in load_model(files, zoo.PLACE).weights():
        if isinstance(weight, QuantizedTensor):
            assert weight.data.untyped_storage().nbytes() == size


def test_biases_of_nothing_and_scales_of_the_cache_are_passed_by(tmp_path: Path) -> None:
    """As AutoGPTQ adds biases to every matrix, and others scales for a cache in 8 bits."""
    files, reference = write(LLAMA, "gptq", tmp_path)
    tensors = load_file(files.weights[0])
    for name in [name for name in tensors if name.endswith(".qweight")]:
        tensors[name.replace(".qweight", ".bias")] = torch.zeros(tensors[name].shape[1])
    tensors["model.layers.0.self_attn.k_scale"] = torch.ones(())
    tensors["model.layers.0.self_attn.v_proj.output_scale"] = torch.ones(())
    files = write_packed(
        tmp_path, tensors, json.loads((tmp_path / "config.json").read_text("utf-8")), FORMATS["gptq"][0]
    )
    ids = zoo.prompt(LLAMA)
    assert zoo.distance(Pages(load_model(files, zoo.PLACE)).whole(ids), zoo.expected(reference, ids)) <= zoo.TOLERANCE


def test_a_bias_that_is_something_counts(tmp_path: Path) -> None:
    held(BIASED, "gptq", tmp_path)


def test_what_cannot_be_done_with_packed_weights_is_refused(tmp_path: Path) -> None:
    files, _ = write(LLAMA, "awq", tmp_path)
    with pytest.raises(InvalidParameter, match="packed already"):
        build_model(open_weights(files), zoo.PLACE, "it", "q8_0")
    with pytest.raises(NotWritable, match="another tool has quantised"):
        quantize_model(files, "q8_0", tmp_path / "out.gguf")


def test_an_unknown_tool_and_a_missing_tensor_are_named(tmp_path: Path) -> None:
    files, _ = write(LLAMA, "awq", tmp_path)
    tensors, config = load_file(files.weights[0]), json.loads((tmp_path / "config.json").read_text("utf-8"))
    del tensors["model.layers.1.mlp.up_proj.qzeros"]
    with pytest.raises(WeightsError, match=r"model\.layers\.1\.mlp\.up_proj\.qzeros is missing"):
        load_model(write_packed(tmp_path, tensors, config, FORMATS["awq"][0]), zoo.PLACE)
    with pytest.raises(ConfigError, match="quant_method: 'hqq' is not one of gptq, awq"):
        load_model(write_packed(tmp_path, tensors, config, {"quant_method": "hqq"}), zoo.PLACE)

"""A checkpoint whose tensors are not those of its architecture is refused, with all that is wrong with it."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unillm.models.errors import ConfigError, WeightsError
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.cases import CASES, Case
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.tensors import Tensors, load, tensors
from unillm.tests.models.zoo import PLACE

SPARE = (".bias", "lm_head.weight", "head.weight")  # what a family may do without
OR_APART = ("in_proj_ba.weight", "in_proj_qkvz.weight")  # the halves of these are what is missing


@pytest.fixture
def weights() -> Tensors:
    return tensors(zoo.BY_NAME["llama2"])


def test_missing_tensors_are_listed_all_at_once(weights: Tensors) -> None:
    gone = ["model.layers.1.mlp.up_proj.weight", "model.layers.2.input_layernorm.weight", "model.norm.weight"]
    for name in gone:
        del weights.tensors[name]
    with pytest.raises(WeightsError, match="3 missing") as caught:
        load(weights)
    assert caught.value.missing == gone
    assert all(name in str(caught.value) for name in gone)


# Of each kind of layer one, in which a few tensors are missing; every kind of tensor in the full matrix.
TEN = (
    *("gpt2", "falcon-40b", "mixtral", "deepseek-v3", "mamba2", "granite4", "qwen3.5", "gpt-oss", "rwkv4", "arctic"),
    *("recurrent-gemma", "llama4", "rwkv7"),
)
ALL = [
    pytest.param(case, some, id=f"{case.name}{' some' if some else ''}", marks=() if some else pytest.mark.slow)
    for case in CASES
    for some in ((True, False) if case.name in TEN else (False,))
]


@pytest.mark.parametrize(("case", "some"), ALL)
def test_whatever_is_missing_is_named_and_so_is_what_should_not_be_there(
    case: Case, some: bool, tmp_path: Path
) -> None:
    files = case.save(tmp_path)
    tensors = {name: one for name, one in load_file(files.weights[0]).items() if not name.endswith("inv_freq")}
    kinds = {re.sub(r"\d+", "n", name): name for name in tensors}
    taken = sorted(kinds.values())[:: max(1, len(kinds) // 4) if some else 1]
    for gone in taken:
        left = {name: tensor for name, tensor in tensors.items() if name != gone}
        save_file({**left, "a.stranger": torch.ones(1)}, tmp_path / "model.safetensors")
        with pytest.raises(WeightsError) as caught:
            case.load(files, PLACE)
        assert "a.stranger" in caught.value.surplus
        assert caught.value.missing == [gone] or gone.endswith((*SPARE, *OR_APART)), gone


def test_surplus_tensors_are_listed(weights: Tensors) -> None:
    weights.tensors["model.layers.3.mlp.up_proj.weight"] = torch.ones(1)
    weights.tensors["model.layers.0.self_attn.q_proj.bias"] = torch.ones(64)
    with pytest.raises(WeightsError, match="2 surplus") as caught:
        load(weights)
    assert caught.value.surplus == ["model.layers.3.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.layers.0.self_attn.q_proj.weight", (32, 64)),
        ("model.layers.0.self_attn.k_proj.weight", (64, 64)),
        ("model.layers.0.mlp.down_proj.weight", (96, 64)),
        ("model.layers.0.input_layernorm.weight", (64, 1)),
        ("model.embed_tokens.weight", (131, 32)),
        ("lm_head.weight", (132, 64)),
        ("model.norm.weight", ()),
    ],
)
def test_a_tensor_of_another_shape_is_named_with_both(weights: Tensors, name: str, shape: tuple[int, ...]) -> None:
    weights.tensors[name] = torch.zeros(shape)
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert len(caught.value.misshapen) == 1
    assert name in str(caught.value)
    assert str(list(shape)) in str(caught.value)


def test_everything_wrong_is_said_in_one_short_message(weights: Tensors) -> None:
    weights.tensors = {f"transformer.h.{index}.weight": torch.ones(1) for index in range(500)}
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert len(caught.value.surplus) == 500
    assert len(str(caught.value)) < 1000


def test_a_config_with_more_layers_than_the_file_has_is_refused_cheaply() -> None:
    weights = tensors(zoo.BY_NAME["llama2"])
    weights.metadata.config["num_hidden_layers"] = 400  # type: ignore[index]
    with pytest.raises(WeightsError, match="missing"):
        load(weights)


def test_an_impossible_config_is_refused_before_any_tensor_is_asked_for() -> None:
    weights = tensors(zoo.BY_NAME["llama2"])
    weights.metadata.config["hidden_size"] = 10**12  # type: ignore[index]
    with pytest.raises(ConfigError, match="hidden_size"):
        load(weights)
    assert weights.taken == 0


def test_a_copy_of_a_tied_head_is_ignored() -> None:
    weights = tensors(zoo.BY_NAME["smollm2"])
    weights.tensors["lm_head.weight"] = torch.zeros(131, 64)
    model = load(weights)
    matrices = [weight for weight in model.weights() if weight.shape == (131, 64)]
    assert len(matrices) == 1
    assert matrices[0] is weights.tensors["model.embed_tokens.weight"]


def test_a_head_that_is_not_tied_must_be_there(weights: Tensors) -> None:
    del weights.tensors["lm_head.weight"]
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert caught.value.missing == ["lm_head.weight"]


def test_every_weight_is_counted_once(weights: Tensors) -> None:
    model = load(weights)
    known = [tensor for name, tensor in weights.tensors.items() if "inv_freq" not in name]
    assert sum(weight.nbytes for weight in model.weights()) == sum(tensor.nbytes for tensor in known)


def test_matrices_are_the_loaders_own_memory(weights: Tensors) -> None:
    """Nothing is copied that a mapped file holds already."""
    held = {tensor.data_ptr() for tensor in weights.tensors.values()}
    assert all(weight.data_ptr() in held for weight in load(weights).weights() if isinstance(weight, torch.Tensor))


def test_a_gguf_with_a_head_of_its_own_uses_it(tmp_path: Path) -> None:
    written = write_gguf(zoo.BY_NAME["llama2"], tmp_path, "F32")
    model = load_model(written.files, PLACE)
    assert len([weight for weight in model.weights() if tuple(weight.shape) == (131, 64)]) == 2
    assert model.config.vocabulary == 131

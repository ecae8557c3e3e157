"""Checkpoints as their authors' own code writes them, which no config.json names: RWKV's `.pth` files, and Mamba's."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unillm.models.errors import UnknownArchitecture, WeightsError
from unillm.models.originals import recognise
from unillm.registry.errors import FormatError
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.test_dense_fixtures import FIXTURES, furthest, stored
from unillm.tests.models.zoo import PLACE, distance

SIXTH = {"rwkv.embeddings.": "emb.", "rwkv.": "", "pre_ln": "ln0", "attention": "att", "feed_forward": "ffn"}
SEVENTH = {
    "model.embeddings.": "emb.",
    "model.norm.": "ln_out.",
    "lm_head.": "head.",
    "layers.0.pre_norm": "layers.0.ln0",
    "attn_norm": "ln1",
    "ffn_norm": "ln2",
    "g_norm": "ln_x",
    "model.layers.": "blocks.",
    ".attn.": ".att.",
    "r_proj": "receptance",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "output",
    "_lora.lora.0.weight": "1",
    "_lora.lora.2.weight": "2",
    "_lora.lora.2.bias": "0",
}


def original(name: str) -> dict[str, Tensor]:
    """A fixture's tensors as their authors' code saves them."""
    found = load_file(FIXTURES / name / "model.safetensors")
    if name == "rwkv4":
        return found  # it is laid out so
    if name == "rwkv6":
        return {
            _spelled(key, {**SIXTH, "rwkv.": "", "attention": "att", "feed_forward": "ffn"}): found[key]
            for key in found
        }
    return {_spelled(key, SEVENTH): _seventh(key, found[key]) for key in found}


def _spelled(name: str, by: dict[str, str]) -> str:
    for theirs, own in by.items():
        name = name.replace(theirs, own)
    return name


def _seventh(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("weight") and "lora" in name:
        return tensor.T.contiguous()
    single = name.endswith((".bias", "k_k", "k_a", "x_k")) and "norm" not in name
    return tensor.view(1, 1, -1) if single else tensor


def pth(tensors: dict[str, Tensor], folder: Path) -> ModelFiles:
    torch.save(tensors, folder / "model.pth")
    return ModelFiles("model", "pytorch", (folder / "model.pth",), {})


@pytest.mark.parametrize("name", ["rwkv4", "rwkv6", "rwkv7"])
def test_rwkv_needs_no_config(name: str, tmp_path: Path) -> None:
    assert furthest(load_model(pth(original(name), tmp_path), PLACE), name) <= zoo.TOLERANCE


def test_its_answers_are_the_authors_too(tmp_path: Path) -> None:
    prompts, _, answers = stored("rwkv4")
    model = load_model(pth(original("rwkv4"), tmp_path), PLACE)
    for ids, answer in zip(prompts, answers, strict=True):
        fresh = answer[len(ids) :] if answer[: len(ids)] == ids else answer
        assert model.generate(ids, len(fresh)) == fresh


@pytest.mark.parametrize("name", ["rwkv4", "rwkv6", "rwkv7"])
def test_tensors_that_a_pth_file_lacks_are_listed(name: str, tmp_path: Path) -> None:
    tensors = original(name)
    gone = sorted(key for key in tensors if "blocks.1" in key)
    with pytest.raises(WeightsError) as caught:
        load_model(pth({key: one for key, one in tensors.items() if key not in gone[::3]}, tmp_path), PLACE)
    assert len(caught.value.missing) == len(gone[::3])


def test_an_rwkv_that_is_not_computed_is_told(tmp_path: Path) -> None:
    tensors = {name: one for name, one in original("rwkv6").items() if "time_maa" not in name}
    with pytest.raises(UnknownArchitecture, match="RWKV-5"):
        open_weights(pth(tensors, tmp_path))


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
def test_mamba_has_sizes_by_other_names(name: str, tied: bool, tmp_path: Path) -> None:
    row = row_of(name)
    reference, tensors = zoo.reference(row), saved(row)
    if tied:
        tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
    files = mamba(tensors, tmp_path, tie_embeddings=tied, ssm_cfg={"layer": "Mamba2", "ngroups": 2})
    model = load_model(files, PLACE)
    prompt = zoo.prompt(row)
    wanted = zoo.expected(reference, prompt)
    if tied:
        hidden = reference.backbone(torch.tensor([prompt]), use_cache=False).last_hidden_state[0]
        wanted = (hidden @ tensors["lm_head.weight"].T).detach()
    assert distance(Pages(model).whole(prompt), wanted) <= zoo.TOLERANCE


def row_of(name: str) -> zoo.Row:
    """By as much as the authors' code keeps norms from dividing by 0."""
    row = zoo.BY_NAME[name]
    return replace(row, name=f"{name}-original", settings={**row.settings, "layer_norm_epsilon": 1e-5})


def saved(row: zoo.Row) -> dict[str, Tensor]:
    tensors = zoo.reference(row).state_dict()
    return {name.replace("embeddings", "embedding"): tensors[name] for name in tensors}


def mamba(tensors: dict[str, Tensor], folder: Path, **said: Any) -> ModelFiles:
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"d_model": 64, "n_layer": 3, "vocab_size": 131, **said}))
    return zoo.files_in(folder, "pytorch_model.bin", kind="pytorch")


def test_layers_that_do_not_scan_are_tensors_missing(tmp_path: Path) -> None:
    tensors = {
        key.replace("embeddings", "embedding"): one
        for key, one in zoo.reference(zoo.BY_NAME["mamba2"]).state_dict().items()
    }
    del tensors["backbone.layers.1.mixer.A_log"]
    with pytest.raises(WeightsError, match="A_log"):
        load_model(mamba(tensors, tmp_path, ssm_cfg={"ngroups": 2}), PLACE)


def test_a_tensor_from_which_no_size_can_be_read_is_named(tmp_path: Path) -> None:
    tensors = original("rwkv4")
    with pytest.raises(WeightsError, match=r"'emb\.weight' has 1 dimensions, not 2"):
        open_weights(pth({**tensors, "emb.weight": torch.zeros(4)}, tmp_path))


def test_other_files_without_a_config_are_refused(tmp_path: Path) -> None:
    assert recognise(["emb.weight"], {}, lambda _: ()) is None
    with pytest.raises(FormatError, match=r"config\.json"):
        open_weights(pth({"emb.weight": torch.zeros(2, 2)}, tmp_path))

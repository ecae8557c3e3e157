"""Dense families under the names that their published files have beside those of transformers."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from unillm.models.errors import WeightsError
from unillm.models.table import find
from unillm.tests.models import zoo
from unillm.tests.models.bin_files import tensors_of
from unillm.tests.models.paged import Pages
from unillm.tests.models.tensors import Tensors, load, tensors
from unillm.tests.models.zoo import distance

_ASKING = ("q_proj.bias", "k_proj.bias", "v_proj.bias")


def renamed(row: zoo.Row, names: Mapping[str, str]) -> Tensors:
    """A row's tensors with other beginnings of their names."""
    weights = tensors(row)
    old, new = next(iter(names.items()))
    kept: dict[str, Tensor] = {name: one for name, one in weights.tensors.items() if "rotary_emb" not in name}
    return Tensors({new + name.removeprefix(old): one for name, one in kept.items()}, weights.metadata.config)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("gpt2", "transformer.", ""), ("bloom", "transformer.", ""), ("opt", "model.", ""), ("opt-350m", "model.", "")],
)
def test_names_as_published_lead_to_the_same(name: str, old: str, new: str) -> None:
    row = zoo.BY_NAME[name]
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row))
    assert distance(Pages(load(renamed(row, {old: new}))).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.parametrize("name", ["phi3", "gpt2", "bloom", "command-r", "olmo2"])
def test_missing_and_surplus_tensors_are_listed(name: str) -> None:
    weights = tensors(zoo.BY_NAME[name])
    weights.tensors = {key: one for key, one in weights.tensors.items() if "rotary_emb" not in key}
    gone = next(key for key in weights.tensors if ".1." in key and key.endswith("weight"))
    weights.tensors["a.stranger"] = weights.tensors.pop(gone)
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert set(caught.value.missing) == {gone}
    assert caught.value.surplus == ["a.stranger"]


PUBLISHED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "falcon-7b": (
        "RWForCausalLM",
        {"num_hidden_layers": ("n_layer", 3), "num_attention_heads": ("n_head", 4), "num_kv_heads": ("n_head_kv", 4)},
    ),
    "pythia": (
        "GPTNeoXForCausalLM",
        {"rope_parameters": ("rotary_pct", 0.5), "rms_norm_eps": ("rotary_emb_base", 10_000)},
    ),
    "gemma": ("GemmaForCausalLM", {"hidden_activation": ("hidden_act", "gelu")}),
    "olmo3": (
        "Olmo3ForCausalLM",
        {
            "rope_parameters": (
                "rope_scaling",
                {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0},
            )
        },
    ),
    "phi2": ("PhiForCausalLM", {"rope_parameters": ("partial_rotary_factor", 0.5)}),
    "glm4-9b": ("GlmForCausalLM", {"rope_parameters": ("rope_theta", 10_000.0)}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_as_published_lead_to_the_same_config(name: str) -> None:
    """Each key is left out, and another says the same."""
    architecture, changes = PUBLISHED[name]
    keys = zoo.keys_of(zoo.BY_NAME[name])
    config = find(keys["architectures"][0], "safetensors").Config.from_hf(keys)
    for key, (other, value) in changes.items():
        keys.pop(key, None)
        keys[other] = value
    assert find(architecture, "safetensors").Config.from_hf(keys) == config


@pytest.mark.parametrize("queries", [True, False], ids=["all", "outputs"])
def test_internlm3_is_llama_whose_outputs_have_biases_of_their_own(queries: bool) -> None:
    """With positions that grow with the text, as published. Biases of nothing are as none."""
    settings = {**zoo.BY_NAME["llama-bias"].settings, **zoo.BY_NAME["llama-dynamic"].settings}
    row = zoo.Row("internlm3-as-llama", "Llama", settings)
    reference = copy.deepcopy(zoo.reference(row))
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if not queries and name.endswith(_ASKING):
                parameter.zero_()
    kept = {name: one for name, one in tensors_of(reference).items() if queries or not name.endswith(_ASKING)}
    config = {**zoo.keys_of(row), "architectures": ["InternLM3ForCausalLM"], "qkv_bias": queries, "bias": True}
    for key in ("attention_bias", "mlp_bias"):
        del config[key]
    model = load(Tensors(kept, config))
    wanted = zoo.expected(reference, zoo.prompt(row), stepwise=True)
    assert type(model).__name__ == "InternLM3"
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE

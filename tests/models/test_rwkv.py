"""RWKV-6 and 7, which transformers has no class for: tiny seeded checkpoints with the logits of their authors' package,
`rwkv`, and the same as GGUF, in llama.cpp too. RWKV-4 is in the zoo.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from unillm.models.contract import Model, Placement
from unillm.models.text.rwkv import Block
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_vocabulary
from unillm.tests.models.paged import Pages
from unillm.tests.models.test_dense_fixtures import FIXTURES, furthest, load, stored
from unillm.tests.models.zoo import PLACE, distance, places
from unillm.tests.support.llama_cpp import LlamaCpp

NAMES = ("rwkv6", "rwkv7")
CHARACTERS = 131  # tokens that are one byte each, and characters too


@places
@pytest.mark.parametrize("name", NAMES)
def test_all_logits_are_those_of_the_authors_package(name: str, place: Placement) -> None:
    assert furthest(load(name, place), name) <= zoo.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_are_too(name: str) -> None:
    (ids, *_), _, (answer, *_) = stored(name)
    assert load(name).generate(ids, len(answer)) == answer


@places
@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_may_be_cut_anywhere_and_batched(name: str, place: Placement) -> None:
    model, ids = load(name, place), stored(name)[0][0]
    whole = Pages(model).whole(ids)
    for sizes in ((1,) * len(ids), (3, len(ids) - 4, 1)):
        assert distance(Pages(model).pieces(ids, sizes), whole) <= zoo.TOLERANCE / 10
    together = Pages(model).run({0: ids, 1: ids[:5], 2: ids[:1]})
    assert distance(torch.cat((together[0], together[1])), torch.cat((whole, whole[:5]))) <= zoo.TOLERANCE / 10


def other_shares(block: Block) -> None:
    block.channel.shares = 1 - block.channel.shares


def no_bonus(block: Block) -> None:
    block.time.bonus.zero_()  # type: ignore[operator]


def unlike_heads(block: Block) -> None:
    block.time.norm.weight.neg_()  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("break_", [other_shares, no_bonus, unlike_heads])
@pytest.mark.parametrize("name", NAMES)
def test_a_part_left_out_shows(name: str, break_: Callable[[Block], None]) -> None:
    model = load(name)
    for module in model.modules():
        if isinstance(module, Block):
            break_(module)
    assert furthest(model, name) > 10 * zoo.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_eps_shows(name: str) -> None:
    assert furthest(load(name, eps=0.3), name) > 10 * zoo.TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_says_the_same(name: str, tmp_path: Path) -> None:
    assert furthest(load_model(write(name, tmp_path), PLACE), name) <= zoo.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_agrees(name: str, tmp_path: Path) -> None:
    """Where the next token is a whole character: it says nothing of others."""
    files = write(name, tmp_path)
    model, peer = load_model(files, PLACE), LlamaCpp(files.weights[0])
    prompts = (stored(name)[0][0][:length] for length in range(16, 0, -1))
    ids = next(ids for ids in prompts if int(last(model, ids).argmax()) < CHARACTERS)
    got = last(model, ids)
    assert float((got - peer.log_probabilities(ids, len(got))).abs().max()) <= 1e-3


def last(model: Model, ids: list[int]) -> torch.Tensor:
    return Pages(model).whole(ids)[-1].log_softmax(-1)


def write(name: str, folder: Path) -> ModelFiles:
    """As llama.cpp's converter lays them out."""
    config = load(name).config
    tensors = {
        key: numbers.astype(np.float32) for key, numbers in load_file(FIXTURES / name / "model.safetensors").items()
    }
    writer = gguf.GGUFWriter(folder / "model.gguf", name)
    writer.add_context_length(1 << 20)
    writer.add_vocab_size(config.vocabulary)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.intermediate)
    writer.add_head_count(0)
    writer.add_layer_norm_eps(config.eps)
    writer.add_wkv_head_size(config.head)
    write_vocabulary(writer, config.vocabulary)
    for key, value in WIDTHS[name](tensors).items():
        writer.add_uint32(f"{name}.{key}", value)
    kind = next(kind for kind, arch in gguf.MODEL_ARCH_NAMES.items() if arch == name)
    names = gguf.get_tensor_name_map(kind, config.layers)
    for key, numbers in REWRITES[name](tensors, config.layers).items():
        writer.add_tensor(gguf_name(names, key), np.ascontiguousarray(numbers))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return zoo.files_in(folder, "model.gguf", kind="gguf")


def gguf_name(names: gguf.TensorNameMap, key: str) -> str:
    found = key if key.startswith("blk.") else names.get_name(key, (".weight", ".bias"))
    assert found is not None, key
    return found if found.endswith((".weight", ".bias")) else f"{found}.weight"


Tensors = dict[str, NDArray[np.float32]]


def finch(tensors: Tensors, layers: int) -> Tensors:
    out: Tensors = {}
    for key, numbers in tensors.items():
        if key.endswith(("time_maa_w1", "time_decay_w1", "time_decay_w2")):
            numbers = numbers.T
        elif key.endswith("time_maa_w2"):
            numbers = numbers.transpose(0, 2, 1)
        elif "time_maa" in key or key.endswith("time_decay"):
            numbers = numbers.squeeze()
        if not any(key.endswith(f"attention.time_maa_{way}") for way in "wkvrg"):
            out[key] = numbers
    for layer in range(layers):
        ways = [tensors[f"rwkv.blocks.{layer}.attention.time_maa_{way}"].reshape(1, 1, -1) for way in "wkvrg"]
        out[f"blk.{layer}.time_mix_lerp_fused.weight"] = np.stack(ways)
    return out


def goose(tensors: Tensors, layers: int) -> Tensors:
    """Tensors of the first block that nothing computes with are there too."""
    renamed = {"_lora.lora.0.weight": "1.weight", "_lora.lora.2.weight": "2.weight", "_lora.lora.2.bias": "0.weight"}
    out: Tensors = {}
    for key, numbers in tensors.items():
        name = key.replace(".attn.", ".attention.").replace("ffn_norm", "ln2").replace(".ffn.", ".feed_forward.")
        name = name.replace("g_norm", "ln_x").replace("attn_norm", "attention_norm")
        for theirs, ours in renamed.items():
            name = name.replace(theirs, ours)
        if ".attention.x_" not in name:
            out[name] = numbers.flatten() if "r_k" in name else numbers.squeeze()
            if name.startswith("model.layers.0.attention.a") and name.endswith(("0.weight", "1.weight", "2.weight")):
                out[name.replace("attention.a", "attention.v")] = numbers
    for layer in range(layers):
        ways = [tensors[f"model.layers.{layer}.attn.x_{way}"].reshape(1, 1, -1) for way in "rwkvag"]
        out[f"blk.{layer}.time_mix_lerp_fused.weight"] = np.stack(ways)
    return out


def finch_widths(tensors: Tensors) -> dict[str, int]:
    mixing, decay = (tensors[f"rwkv.blocks.0.attention.{name}_w1"].shape[1] for name in ("time_maa", "time_decay"))
    return {"time_mix_extra_dim": mixing // 5, "time_decay_extra_dim": decay}


def goose_widths(tensors: Tensors) -> dict[str, int]:
    names = {"decay": "w", "iclr": "a", "value_residual_mix": "v", "gate": "g"}
    return {
        f"attention.{name}_lora_rank": tensors[f"model.layers.1.attn.{letter}_lora.lora.0.weight"].shape[0]
        for name, letter in names.items()
    }


REWRITES: dict[str, Callable[[Tensors, int], Tensors]] = {"rwkv6": finch, "rwkv7": goose}
WIDTHS: dict[str, Callable[[Tensors], dict[str, Any]]] = {"rwkv6": finch_widths, "rwkv7": goose_widths}

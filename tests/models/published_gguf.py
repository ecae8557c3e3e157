"""Writes checkpoints as GGUF in F32 from their published files, each as llama.cpp's converter would: mixtures whose
experts have a matrix each, and what transformers has no class for.

Names are the `gguf` package's own.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from unillm.registry.files import ModelFiles
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import add_key, long_factor, permute, write_vocabulary

Numbers: TypeAlias = NDArray[np.float32]
Keys: TypeAlias = dict[str, Any]
Rewrite: TypeAlias = Callable[[str, Numbers, Keys], Iterator[tuple[str, Numbers]]]

_OF_EXPERT: Final = re.compile(r"(.+\.(?:experts|moe))\.\d+\.(.+)")


def write(files: ModelFiles, folder: Path) -> ModelFiles:
    config = json.loads(files.files["config.json"].read_text("utf-8"))
    arch, keys, rewrite = FAMILIES[config["architectures"][0]]
    writer = gguf.GGUFWriter(folder / "model.gguf", arch)
    for name, value in {**_common(config), **keys(config)}.items():
        add_key(writer, f"{arch}.{name}", value)
    write_vocabulary(writer, config["vocab_size"])
    names = _names(arch, _of(config, "num_hidden_layers", "n_layers"))
    for length, divisors in _divisors(config).items():
        writer.add_tensor(f"rope_factors_{length}.weight", divisors)
    for name, numbers in _together(load_file(files.weights[0])).items():
        for renamed, part in rewrite(name, numbers, config):
            writer.add_tensor(_name(names, renamed), np.ascontiguousarray(part))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return zoo.files_in(folder, "model.gguf", kind="gguf")


def _divisors(config: Keys) -> dict[str, Numbers]:
    rope = config.get("rope_parameters") or {}
    lengths = [length for length in ("short", "long") if f"{length}_factor" in rope]
    return {length: np.array(rope[f"{length}_factor"], dtype=np.float32) for length in lengths}


def _of(config: Keys, *names: str) -> Any:
    return next(config[name] for name in names if name in config)


def _together(tensors: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The matrices of all experts of a layer as one tensor; frequencies are not weights."""
    found: dict[str, list[Numbers]] = {}
    plain: dict[str, Numbers] = {}
    for name in sorted(tensors, key=lambda name: [int(part) if part.isdigit() else 0 for part in name.split(".")]):
        part = _OF_EXPERT.fullmatch(name)
        if part is not None:
            found.setdefault(f"{part[1]}.{part[2]}", []).append(tensors[name])
        elif not name.endswith("inv_freq"):
            plain[name] = tensors[name]
    return {**plain, **{name: np.stack(parts) for name, parts in found.items()}}


def _names(arch: str, layers: int) -> gguf.TensorNameMap:
    """Whoever asks the package for Arctic's changes what it says of all others from then on: that is undone here."""
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    table = gguf.TensorNameMap.block_mappings_cfg
    kept = dict(table)
    names = gguf.get_tensor_name_map(kind, layers)
    table.clear()
    table.update(kept)
    return names


def _name(names: gguf.TensorNameMap, name: str) -> str:
    if name.startswith("blk."):
        return name
    tried = (names.get_name(each, (".weight", ".bias")) for each in (name, name.removeprefix("transformer.")))
    found = next((each for each in tried if each is not None), None)
    assert found is not None, name
    return found if found.endswith((".weight", ".bias")) else f"{found}.weight"


def _common(config: Keys) -> Keys:
    hidden, heads = (_of(config, *keys) for keys in (("hidden_size", "d_model"), ("num_attention_heads", "n_heads")))
    return {
        "vocab_size": config["vocab_size"],
        "context_length": 256,
        "embedding_length": hidden,
        "block_count": _of(config, "num_hidden_layers", "n_layers"),
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads", heads),
        "rope.dimension_count": hidden // heads,
        "rope.freq_base": float(config.get("rope_theta", 10_000.0)),
    }


def _llama_keys(config: Keys) -> Keys:
    rope = config.get("rope_parameters") or {}
    return {
        "feed_forward_length": config["intermediate_size"],
        "attention.layer_norm_rms_epsilon": float(_of(config, "rms_norm_eps", "layer_norm_epsilon")),
        **({"rope.freq_base": float(rope["rope_theta"])} if "rope_theta" in rope else {}),
    }


def _mixed_keys(config: Keys) -> Keys:
    return {
        **_llama_keys(config),
        "expert_count": _of(config, "num_local_experts", "n_routed_experts"),
        "expert_used_count": config["num_experts_per_tok"],
    }


def _deepseek_keys(config: Keys) -> Keys:
    return {
        **_mixed_keys(config),
        "leading_dense_block_count": config["first_k_dense_replace"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_weights_scale": 1.0,
        "expert_shared_count": config["n_shared_experts"],
        "rope.scaling.type": "none",
    }


def _grok_keys(config: Keys) -> Keys:
    return {
        **_mixed_keys(config),
        "attn_logit_softcapping": 30.0,
        "router_logit_softcapping": 30.0,
        "attention.output_scale": config["attn_output_multiplier"],
        "embedding_scale": config["embedding_multiplier_scale"],
        "logit_scale": config["output_multiplier_scale"],
    }


def _granite_keys(config: Keys) -> Keys:
    shared = config.get("shared_intermediate_size")
    return {
        **_mixed_keys(config),
        "embedding_scale": float(config["embedding_multiplier"]),
        "residual_scale": float(config["residual_multiplier"]),
        "attention.scale": float(config["attention_multiplier"]),
        "logit_scale": float(config["logits_scaling"]),
        **({"expert_shared_feed_forward_length": shared} if shared else {}),
    }


def _dbrx_keys(config: Keys) -> Keys:
    attention, experts = config["attn_config"], config["ffn_config"]
    return {
        "feed_forward_length": experts["ffn_hidden_size"],
        "attention.head_count_kv": attention["kv_n_heads"],
        "attention.clamp_kqv": float(attention["clip_qkv"]),
        "attention.layer_norm_epsilon": 1e-5,
        "rope.freq_base": float(attention["rope_theta"]),
        "expert_count": experts["moe_num_experts"],
        "expert_used_count": experts["moe_top_k"],
    }


def _phimoe_keys(config: Keys) -> Keys:
    """Of how positions are stretched, the factor alone."""
    rope = config["rope_parameters"]
    trained = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
    return {
        **_mixed_keys(config),
        "rope.scaling.original_context_length": trained,
        "attention.sliding_window": config["sliding_window"] or 0,
        **({"rope.scaling.attn_factor": long_factor(256, trained)} if "long_factor" in rope else {}),
    }


def _minicpm_keys(config: Keys) -> Keys:
    return {
        **_llama_keys(config),
        "embedding_scale": float(config["scale_emb"]),
        "residual_scale": config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
        "logit_scale": config["hidden_size"] / config["dim_model_base"],
    }


def _chatglm_keys(config: Keys) -> Keys:
    return {
        "feed_forward_length": config["ffn_hidden_size"],
        "attention.head_count_kv": config["multi_query_group_num"],
        "attention.layer_norm_rms_epsilon": float(config["layernorm_epsilon"]),
        "rope.dimension_count": config["hidden_size"] // config["num_attention_heads"] // 2,
        "rope.freq_base": 10_000.0 * config.get("rope_ratio", 1),
    }


def _as_it_is(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:  # noqa: ARG001
    yield name, numbers


def _permuted(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:
    """As llama.cpp turns neighbours."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads")}
    yield name, permute(numbers, heads.get(name.split(".")[-2]) or 0)


def _granite(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:
    stem, kind = f"blk.{name.partition('.layers.')[2].partition('.')[0]}.ffn", "exps" if numbers.ndim == 3 else "shexp"
    if name.endswith("input_linear.weight"):
        for side, part in zip(("gate", "up"), np.split(numbers, 2, -2), strict=True):
            yield f"{stem}_{side}_{kind}.weight", part
    elif name.endswith("output_linear.weight"):
        yield f"{stem}_down_{kind}.weight", numbers
    else:
        yield from _permuted(name, numbers, config)


def _dbrx(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:
    if ".experts.mlp." not in name:
        yield name, numbers
        return
    experts = numbers.reshape(config["ffn_config"]["moe_num_experts"], -1, config["d_model"])
    yield f"{name}.weight", experts.swapaxes(1, 2) if name.endswith("w2") else experts


def _baichuan(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:
    """Rows of the head of version 2 are no longer than 1."""
    if "W_pack" in name:
        for which, part in zip("qkv", np.split(numbers, 3), strict=True):
            heads = 0 if which == "v" else config["num_attention_heads"]
            yield f"blk.{name.split('.')[2]}.attn_{which}.weight", permute(part, heads)
    else:
        yield name, numbers


def _internlm2(name: str, numbers: Numbers, config: Keys) -> Iterator[tuple[str, Numbers]]:
    if not name.endswith("wqkv.weight"):
        yield name, numbers
        return
    heads, answering = config["num_attention_heads"], config["num_key_value_heads"]
    hidden = config["hidden_size"]
    groups = numbers.reshape(answering, heads // answering + 2, hidden // heads, hidden)
    for which, part in (("q", groups[:, :-2]), ("k", groups[:, -2]), ("v", groups[:, -1])):
        turned = {"q": heads, "k": answering, "v": 0}[which]
        yield f"blk.{name.split('.')[2]}.attn_{which}.weight", permute(part.reshape(-1, hidden), turned)


FAMILIES: Final[Mapping[str, tuple[str, Callable[[Keys], Keys], Rewrite]]] = {
    "ArcticForCausalLM": ("arctic", _mixed_keys, _permuted),
    "BaichuanForCausalLM": ("baichuan", _llama_keys, _baichuan),
    "ChatGLMModel": ("chatglm", _chatglm_keys, _as_it_is),
    "DbrxForCausalLM": ("dbrx", _dbrx_keys, _dbrx),
    "DeepseekForCausalLM": ("deepseek", _deepseek_keys, _permuted),
    "GraniteMoeForCausalLM": ("granitemoe", _granite_keys, _granite),
    "GraniteMoeSharedForCausalLM": ("granitemoe", _granite_keys, _granite),
    "GrokForCausalLM": ("grok", _grok_keys, _as_it_is),
    "InternLM2ForCausalLM": ("internlm2", _llama_keys, _internlm2),
    "MiniCPMForCausalLM": ("minicpm", _minicpm_keys, _permuted),
    "PhiMoEForCausalLM": ("phimoe", _phimoe_keys, _as_it_is),
    "PhimoeForCausalLM": ("phimoe", _phimoe_keys, _as_it_is),
    "QWenLMHeadModel": ("qwen", _llama_keys, _as_it_is),
}

"""Writes dense reference models as GGUF in F32, each as llama.cpp's converter would: keys, names, and what it changes.

Names are the `gguf` package's own. `gguf_files.py` writes the llama-like ones, in all kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray

from unillm.registry.files import ModelFiles
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_vocabulary

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Written:
    """What a family's files have: the architecture, and how tensors differ from Hugging Face's.

    `permuted`: queries and keys turn in neighbouring pairs; `offset`: norms are stored plus 1; `grouped`: queries, keys
    and values are taken apart; `turned`: matrices of layers are.
    """

    name: str
    permuted: bool = False
    offset: float = 0.0
    grouped: bool = False
    turned: bool = False


FAMILIES: Final[Mapping[str, Written]] = {
    "Gemma": Written("gemma", offset=1.0),
    "Gemma2": Written("gemma2", offset=1.0),
    "Gemma3": Written("gemma3", offset=1.0),
    "Phi3": Written("phi3"),
    "Granite": Written("granite", permuted=True),
    "Olmo": Written("olmo", permuted=True),
    "Olmo2": Written("olmo2"),
    "Olmo3": Written("olmo2"),
    "SmolLM3": Written("smollm3", permuted=True),
    "Ministral3": Written("mistral3", permuted=True),
    "Starcoder2": Written("starcoder2"),
    "Glm": Written("chatglm"),
    "Glm4": Written("glm4"),
    "Cohere": Written("command-r"),
    "Cohere2": Written("cohere2"),
    "StableLm": Written("stablelm"),
    "Nemotron": Written("nemotron", offset=1.0),
    "Falcon": Written("falcon", grouped=True),
    "GPT2": Written("gpt2", turned=True),
    "GPTBigCode": Written("starcoder"),
    "GPTNeoX": Written("gptneox", grouped=True),
    "Phi": Written("phi2"),
    "Bloom": Written("bloom", grouped=True),
    "Mpt": Written("mpt"),
}

_FLOATS: Final = {
    "query_pre_attn_scalar": "",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "attention_multiplier": "attention.scale",
    "logits_scaling": "logit_scale",
    "logit_scale": "logit_scale",
    "clip_qkv": "attention.clamp_kqv",
}


def write(row: zoo.Row, folder: Path) -> ModelFiles:
    model, how = zoo.reference(row), FAMILIES[row.family]
    config = model.config
    writer = gguf.GGUFWriter(folder / "model.gguf", how.name)
    _write_keys(writer, how.name, config)
    write_vocabulary(writer, config.vocab_size)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == how.name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, numbers in _tensors(model).items():
        writer.add_tensor(_name(names, name), np.ascontiguousarray(_as_stored(name, numbers, how, config)))
    _write_divisors(writer, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return zoo.files_in(folder, "model.gguf", kind="gguf")


def _name(names: gguf.TensorNameMap, name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{names.get_name(stem) or names.get_name(stem.removeprefix('transformer.'))}.{kind}"


def _tensors(model: Any) -> dict[str, Numbers]:
    """By name; norms of single heads are one tensor."""
    tensors: dict[str, Numbers] = {}
    apart: dict[str, list[Numbers]] = {}
    for name, parameter in model.named_parameters():
        numbers = parameter.detach().numpy()
        if ".norms." in name:
            apart.setdefault(name.partition(".norms.")[0] + ".weight", []).append(numbers)
        else:
            tensors[name] = numbers
    return {**tensors, **{name: np.stack(parts) for name, parts in apart.items()}}


def _as_stored(name: str, numbers: Numbers, how: Written, config: Any) -> Numbers:
    if how.offset and "norm" in name and name.endswith("weight"):
        return numbers + np.float32(how.offset)
    if how.turned and ".h." in name and numbers.ndim == 2:
        return numbers.T
    if how.grouped and "query_key_value" in name:
        return _ungrouped(numbers, config)
    heads = (
        config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads if ".k_proj." in name else 0
    )
    if not how.permuted or not heads:
        return numbers
    halves = numbers.reshape(heads, 2, -1, *numbers.shape[1:])
    return halves.swapaxes(1, 2).reshape(numbers.shape)


def _ungrouped(numbers: Numbers, config: Any) -> Numbers:
    """All queries, then all keys, then all values."""
    heads = config.num_attention_heads
    dim = config.hidden_size // heads
    multi = getattr(config, "multi_query", False) and not config.new_decoder_architecture
    answering = 1 if multi else getattr(config, "num_kv_heads", heads)
    groups = numbers.reshape(answering, heads // answering + 2, dim, *numbers.shape[1:])
    parts = (groups[:, :-2], groups[:, -2], groups[:, -1])
    return np.concatenate([part.reshape(-1, *numbers.shape[1:]) for part in parts])


def _write_keys(writer: gguf.GGUFWriter, arch: str, config: Any) -> None:
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(getattr(config, "max_position_embeddings", 256))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(_intermediate(config))
    writer.add_head_count(heads)
    writer.add_head_count_kv(_answering(config))
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    eps = [getattr(config, key) for key in ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
           if hasattr(config, key)]  # fmt: skip
    writer.add_layer_norm_eps(eps[0] if eps else 1e-5)
    writer.add_layer_norm_rms_eps(getattr(config, "rms_norm_eps", 1e-5))
    _write_rope(writer, config, dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if hasattr(config, "use_parallel_residual"):
        writer.add_parallel_residual(config.use_parallel_residual)
    inner = getattr(config, "attn_config", None)
    if inner is not None:
        writer.add_max_alibi_bias(float(inner.alibi_bias_max))
    for holder in (config, inner):
        for key, name in _FLOATS.items():
            if name and getattr(holder, key, None):
                writer.add_float32(f"{arch}.{name}", float(getattr(holder, key)))


def _intermediate(config: Any) -> int:
    for key in ("n_inner", "ffn_hidden_size", "intermediate_size"):
        if getattr(config, key, None) and type(config).__name__ not in ("BloomConfig", "MptConfig"):
            return int(getattr(config, key))
    return 4 * int(config.hidden_size)


def _answering(config: Any) -> int:
    if hasattr(config, "multi_query"):
        return 1 if not getattr(config, "new_decoder_architecture", False) else int(config.num_kv_heads)
    kinds = ("GPT2Config", "GPTNeoXConfig", "BloomConfig", "MptConfig")
    return int(config.num_attention_heads if type(config).__name__ in kinds else config.num_key_value_heads)


def _write_rope(writer: gguf.GGUFWriter, config: Any, dim: int) -> None:
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        return
    full = rope.get("full_attention", rope)
    writer.add_rope_freq_base(full["rope_theta"])
    writer.add_rope_dimension_count(int(dim * full.get("partial_rotary_factor", 1)))
    kind = full.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(full["factor"])
        writer.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
        if "mscale_all_dim" in full:
            writer.add_rope_scaling_yarn_log_mul(full["mscale_all_dim"])
    if "llama_4_scaling_beta" in full:
        writer.add_attn_temperature_scale(full["llama_4_scaling_beta"])
    if kind == "longrope":
        trained = full["original_max_position_embeddings"]
        stretch = config.max_position_embeddings / trained
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(trained)
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(stretch) / np.log(trained))))


def _write_divisors(writer: gguf.GGUFWriter, config: Any) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    for length in ("short", "long"):
        if f"{length}_factor" in rope:
            numbers = np.array(rope[f"{length}_factor"], dtype=np.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", numbers)

"""Writes reference models whose layers carry a state, and Llama 4, as GGUF in F32, each as llama.cpp's converter would.

Names are the `gguf` package's own where it knows the reference's.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import gguf
import numpy as np
from numpy.typing import NDArray

from unillm.registry.files import ModelFiles
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import add_key, permute, write_vocabulary

Numbers: TypeAlias = NDArray[np.float32]
Keys: TypeAlias = dict[str, Any]
Rewrite: TypeAlias = Callable[[str, Numbers, Any], Iterator[tuple[str, Numbers]]]


def write(row: zoo.Row, folder: Path, *, rewritten: bool = False) -> ModelFiles:
    """`rewritten`: by a tool that leaves out dimensions of 1 at the front, as llama.cpp's own quantiser does."""
    model = zoo.reference(row)
    config = model.config
    arch, keys, rewrite = FAMILIES[row.family]
    writer = gguf.GGUFWriter(folder / "model.gguf", arch)
    for name, value in {**_common(config), **keys(config)}.items():
        add_key(writer, name if "." in name and name.startswith("general.") else f"{arch}.{name}", value)
    write_vocabulary(writer, config.vocab_size)
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    biases = ((name, buffer) for name, buffer in model.named_buffers() if name.endswith("expert_bias"))
    for name, parameter in (*model.named_parameters(), *biases):
        for renamed, numbers in rewrite(name, parameter.detach().numpy(), config):
            front = next(place for place, size in enumerate((*numbers.shape, 2)) if size > 1) if rewritten else 0
            writer.add_tensor(_name(names, renamed), np.ascontiguousarray(numbers.reshape(numbers.shape[front:])))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return zoo.files_in(folder, "model.gguf", kind="gguf")


def _name(names: gguf.TensorNameMap, name: str) -> str:
    if name.startswith("blk."):
        return name
    found = names.get_name(name, (".weight", ".bias"))
    if found is None:
        stem, _, kind = name.rpartition(".")
        found = f"{names.get_name(stem)}.{kind}"
    assert "None" not in found, name
    bare = found.endswith((".weight", ".bias", "ssm_a", "ssm_d")) or "pre_ff_layernorm" in name
    return found if bare else f"{found}.weight"


def _common(config: Any) -> Keys:
    eps = getattr(config, "rms_norm_eps", None) or getattr(config, "layer_norm_epsilon", None)
    return {
        "context_length": getattr(config, "max_position_embeddings", 1 << 20),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "vocab_size": config.vocab_size,
        "attention.layer_norm_rms_epsilon": float(eps or config.norm_eps),
    }


def _of_attention(config: Any, kinds: list[str] | None = None) -> Keys:
    """Heads of keys are those of layers that attend."""
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    answering = config.num_key_value_heads
    each = None if kinds is None else [answering if kind == "full_attention" else 0 for kind in kinds]
    return {
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": answering if each is None else each,
        "attention.key_length": dim,
        "attention.value_length": dim,
    }


def _experts(config: Any) -> Keys:
    count = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", 0)
    return {"expert_count": count, "expert_used_count": config.num_experts_per_tok} if count else {}


def _mamba2_keys(config: Any) -> Keys:
    return {
        "feed_forward_length": 0,
        "attention.head_count": 0,
        **_ssm(config.conv_kernel, config.num_heads * config.head_dim, config.state_size, config.num_heads),
        "ssm.group_count": config.n_groups,
    }


def _ssm(taps: int, inner: int, state: int, rank: int) -> Keys:
    return {"ssm.conv_kernel": taps, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank}


def _falcon_h1_keys(config: Any) -> Keys:
    return {
        **_of_attention(config),
        **_ssm(config.mamba_d_conv, config.mamba_d_ssm, config.mamba_d_state, config.mamba_n_heads),
        "ssm.group_count": config.mamba_n_groups,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }


def _granite_keys(config: Any) -> Keys:
    experts = _experts(config)
    return {
        **_of_attention(config, config.layer_types),
        **_ssm(config.mamba_d_conv, 2 * config.hidden_size, config.mamba_d_state, config.mamba_n_heads),
        **experts,
        "ssm.group_count": config.mamba_n_groups,
        "feed_forward_length": config.intermediate_size if experts else config.shared_intermediate_size,
        "expert_shared_feed_forward_length": config.shared_intermediate_size,
        "embedding_scale": float(config.embedding_multiplier),
        "residual_scale": float(config.residual_multiplier),
        "attention.scale": float(config.attention_multiplier),
        "logit_scale": float(config.logits_scaling),
        "rope.scaling.finetuned": config.position_embedding_type == "rope",
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
    }


def _jamba_keys(config: Any) -> Keys:
    inner = config.mamba_expand * config.hidden_size
    return {
        **_of_attention(config, config.layer_types),
        **_ssm(config.mamba_d_conv, inner, config.mamba_d_state, config.mamba_dt_rank),
        **_experts(config),
    }


def _mixer(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    """Of a state space."""
    groups = int(getattr(config, "n_groups", 0) or getattr(config, "mamba_n_groups", 0))
    single = numbers[:, None] if groups else numbers
    if name.endswith("A_log"):
        yield name, -np.exp(single)
    elif name.endswith(".D"):
        yield name, single
    elif name.endswith("dt_bias"):
        yield name.replace("dt_bias", "dt_proj.bias"), numbers
    elif name.endswith("conv1d.weight"):
        yield name, numbers[:, 0]
    elif name.endswith((".mamba.norm.weight", ".mixer.norm.weight")):
        yield name, numbers.reshape(groups, -1)
    elif name.endswith("experts.gate_up_proj"):
        for side, part in zip(("gate", "up"), np.split(numbers, 2, 1), strict=True):
            yield f"{_feed_forward(name)}_{side}_exps.weight", part
    elif name.endswith("experts.down_proj"):
        yield f"{_feed_forward(name)}_down_exps.weight", numbers
    else:
        yield name, numbers


def _feed_forward(name: str) -> str:
    """What the names of feed-forward layers begin with in the layer of `name`."""
    number = name.partition(".layers.")[2].partition(".")[0]
    return f"blk.{number}.ffn"


def _falcon_h1(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    """Constants are folded into weights."""
    for renamed, part in _mixer(name, numbers, config):
        yield renamed, part * np.float32(_folded(name, config))


def _folded(name: str, config: Any) -> Any:
    gate, down = config.mlp_multipliers
    inner, shared = config.mamba_d_ssm, config.mamba_n_groups * config.mamba_d_state
    each = np.repeat(config.ssm_multipliers, (inner, inner, shared, shared, config.mamba_n_heads))
    factors: Mapping[str, Any] = {
        "down_proj": down,
        "gate_proj": gate,
        "k_proj": config.key_multiplier * config.attention_in_multiplier,
        "q_proj": config.attention_in_multiplier,
        "v_proj": config.attention_in_multiplier,
        "o_proj": config.attention_out_multiplier,
        "out_proj": config.ssm_out_multiplier,
        "in_proj": config.ssm_in_multiplier * each[:, None],
        "lm_head": config.lm_head_multiplier,
        "embed_tokens": config.embedding_multiplier,
    }
    return factors.get(name.split(".")[-2], 1.0)


def _granite(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    stem = _feed_forward(name)
    shared = "_shexp" if _experts(config) else ""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2], 0)
    if name.endswith("shared_mlp.input_linear.weight"):
        for side, part in zip(("gate", "up"), np.split(numbers, 2), strict=True):
            yield f"{stem}_{side}{shared}.weight", part
    elif name.endswith("shared_mlp.output_linear.weight"):
        yield f"{stem}_down{shared}.weight", numbers
    elif name.endswith("router.weight"):
        yield f"{stem}_gate_inp.weight", numbers
    else:
        yield from _mixer(name, permute(numbers, heads), config)


def _delta_keys(config: Any) -> Keys:
    """Those of Qwen 3.5 must state how positions of images are divided too."""
    taps, values = config.linear_conv_kernel_dim, config.linear_num_value_heads
    sections = {} if config.model_type == "qwen3_next" else {"rope.dimension_sections": [2, 2, 2, 0]}
    return {
        **_of_attention(config),
        **_ssm(taps, values * config.linear_value_head_dim, config.linear_key_head_dim, values),
        **_experts(config),
        **sections,
        "ssm.group_count": config.linear_num_key_heads,
        "expert_feed_forward_length": getattr(config, "moe_intermediate_size", 0),
        "expert_shared_feed_forward_length": getattr(config, "shared_expert_intermediate_size", 0),
        "rope.dimension_count": int(config.head_dim * config.rope_parameters["partial_rotary_factor"]),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }


def _delta(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    if "in_proj_qkvz" in name:
        share = config.linear_num_value_heads // config.linear_num_key_heads * config.linear_value_head_dim
        key = config.linear_key_head_dim
        heads = numbers.reshape(config.linear_num_key_heads, -1, numbers.shape[1])
        parts = np.split(heads, np.cumsum([key, key, share]), 1)
        q, k, v, z = (part.reshape(-1, numbers.shape[1]) for part in parts)
        number = name.split(".")[2]
        yield f"blk.{number}.attn_qkv.weight", np.concatenate((q, k, v))
        yield f"blk.{number}.attn_gate.weight", z
    elif name.endswith("norm.weight") and "linear_attn.norm" not in name:
        yield name, numbers + 1
    else:
        yield from _mixer(name, numbers, config)


def _tiled_delta(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    """Heads of values are no longer beside those that share their key."""
    keys, width = config.linear_num_key_heads, config.linear_value_head_dim
    before = 2 * keys * config.linear_key_head_dim
    if "in_proj_qkv" in name or "linear_attn.conv1d" in name:
        numbers = np.concatenate((numbers[:before], _tiled(numbers[before:], keys, width)))
    elif "in_proj_z" in name:
        numbers = _tiled(numbers, keys, width)
    elif name.endswith(("in_proj_a.weight", "in_proj_b.weight", "A_log", "dt_bias")):
        numbers = _tiled(numbers, keys, 1)
    elif "linear_attn.out_proj" in name:
        numbers = _tiled(numbers.T, keys, width).T
    yield from _delta(name, numbers, config)


def _tiled(numbers: Numbers, keys: int, width: int) -> Numbers:
    heads = numbers.reshape(keys, -1, width, *numbers.shape[1:])
    return heads.swapaxes(0, 1).reshape(numbers.shape)


def _lfm2_keys(config: Any) -> Keys:
    experts = _experts(config)
    mixing = {
        "leading_dense_block_count": getattr(config, "num_dense_layers", 0),
        "expert_feed_forward_length": getattr(config, "moe_intermediate_size", 0),
        "expert_gating_func": 2,
    }
    return {
        **_of_attention(config, config.layer_types),
        **experts,
        **(mixing if experts else {}),
        "shortconv.l_cache": config.conv_L_cache,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }


def _lfm2(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    if name.endswith("expert_bias"):
        yield f"blk.{name.split('.')[2]}.exp_probs_b.bias", numbers
    else:
        yield from _mixer(name, numbers[:, 0] if "conv.conv" in name else numbers, config)


def _llama4_keys(config: Any) -> Keys:
    return {
        **_of_attention(config),
        **_experts(config),
        "feed_forward_length": config.intermediate_size_mlp,
        "expert_feed_forward_length": config.intermediate_size,
        "interleave_moe_layer_step": config.interleave_moe_layer_step,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    }


def _llama4(name: str, numbers: Numbers, config: Any) -> Iterator[tuple[str, Numbers]]:
    turned = numbers.swapaxes(1, 2) if ".experts." in name else numbers
    yield from _mixer(name, turned, config)


FAMILIES: Final[Mapping[str, tuple[str, Callable[[Any], Keys], Rewrite]]] = {
    "Mamba2": ("mamba2", _mamba2_keys, _mixer),
    "FalconH1": ("falcon-h1", _falcon_h1_keys, _falcon_h1),
    "GraniteMoeHybrid": ("granitehybrid", _granite_keys, _granite),
    "Jamba": ("jamba", _jamba_keys, _mixer),
    "Lfm2": ("lfm2", _lfm2_keys, _lfm2),
    "Lfm2Moe": ("lfm2moe", _lfm2_keys, _lfm2),
    "Llama4": ("llama4", _llama4_keys, _llama4),
    "Qwen3Next": ("qwen3next", _delta_keys, _delta),
    "Qwen3_5": ("qwen35", _delta_keys, _tiled_delta),
    "Qwen3_5Moe": ("qwen35moe", _delta_keys, _tiled_delta),
}

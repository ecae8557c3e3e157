"""Writes a reference model as GGUF, by the `gguf` package's own names, writers and quantisers.

Kinds that the package cannot quantise to (the K-quants) are filled with random blocks whose scales give them the size
of ordinary weights; either way the reference then gets exactly the numbers that are in the file.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from unillm.registry.files import ModelFiles
from unillm.tests.models import zoo

PLAIN_KINDS: Final = ("F32", "F16", "BF16")
QUANTISED_KINDS: Final = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
K_KINDS: Final = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")

_ARCHITECTURES: Final = {
    "DeepseekV2": "deepseek2",
    "DeepseekV3": "deepseek2",
    "Glm4Moe": "glm4moe",
    "GptOss": "gpt-oss",
    "Llama": "llama",
    "Mistral": "llama",
    "Mixtral": "llama",
    "Olmoe": "olmoe",
    "Qwen2": "qwen2",
    "Qwen2Moe": "qwen2moe",
    "Qwen3": "qwen3",
    "Qwen3Moe": "qwen3moe",
}
_ROPE_TYPES: Final = {
    "linear": gguf.RopeScalingType.LINEAR,
    "yarn": gguf.RopeScalingType.YARN,
    "longrope": gguf.RopeScalingType.LONGROPE,
}


@dataclass(frozen=True)
class _Scales:
    """Where a K-block keeps the fp16 that scales its numbers, where that of its minima, and their ratio."""

    scale: int
    minimum: int | None = None
    ratio: float = 0.0


# The ratio is the middle of the small integers, so that weights come out around zero.
_K_SCALES: Final = {
    Kind.Q2_K: _Scales(80, 82, 1.5),
    Kind.Q3_K: _Scales(108),
    Kind.Q4_K: _Scales(0, 2, 7.5),
    Kind.Q5_K: _Scales(0, 2, 15.5),
    Kind.Q6_K: _Scales(208),
}


@dataclass(frozen=True)
class Written:
    """A GGUF file, and the reference with the very numbers in it."""

    files: ModelFiles
    model: Any


def write_gguf(
    row: zoo.Row, folder: Path, kind: str, *, permuted: bool = True, others: Mapping[str, str] | None = None
) -> Written:
    """Every matrix of a row in `kind`, or as `others` says for names that hold one of its keys; vectors in F32.

    `permuted`: as llama.cpp's `llama` wants query and key.
    """
    model = copy.deepcopy(zoo.reference(row))
    for name, module in model.named_modules():
        if name.endswith("_a_layernorm"):
            module.variance_epsilon = model.config.rms_norm_eps  # a GGUF has one for all norms
    architecture = _ARCHITECTURES[row.family]
    writer = gguf.GGUFWriter(folder / "model.gguf", architecture)
    _write_keys(writer, model.config)
    write_vocabulary(writer, model.config.vocab_size)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    seed = np.random.default_rng(5)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            block = name.split(".")[2]
            writer.add_tensor(f"blk.{block}.exp_probs_b.bias", buffer.numpy())
    for name, parameter in model.named_parameters():
        heads = _heads(name, model.config) if architecture == "llama" and permuted else 0
        numbers = permute(parameter.detach().numpy(), heads)
        chosen = next((other for part, other in (others or {}).items() if part in name), kind)
        stored = (
            Kind[chosen]
            if parameter.dim() > 1 and not name.endswith((".gate.weight", "router.weight", "_bias"))
            else Kind.F32
        )
        parts = _parts(name, numbers, model.config)
        for part, some in parts.items():
            fitting = stored if some.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] == 0 else Kind.F32
            packed, exact = pack(some, fitting, seed)
            writer.add_tensor(_gguf_name(names, part), packed, raw_dtype=fitting)
            parts[part] = exact
        exact = parts[name] if name in parts else _joined(name, list(parts.values()), model.config)
        parameter.data.copy_(torch.from_numpy(permute(exact, heads, back=True)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Written(zoo.files_in(folder, "model.gguf", kind="gguf"), model)


def _parts(name: str, numbers: NDArray[np.float32], config: Any) -> dict[str, NDArray[np.float32]]:
    """The tensors that a GGUF has for one of the reference's: gate and up of experts are apart, and each head's matrix
    from a latent to keys, turned, and to values.
    """
    if config.model_type == "gpt_oss" and ".experts." in name:
        return _parts_taking_turns(name, numbers)
    if name.endswith("experts.gate_up_proj"):
        gate, up = np.split(numbers, 2, 1)
        return {name.replace("gate_up", "gate"): gate.copy(), name.replace("gate_up", "up"): up.copy()}
    if "kv_b_proj" in name:
        heads = numbers.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
        keys, values = np.split(heads, [config.qk_nope_head_dim], 1)
        turned = np.ascontiguousarray(keys.swapaxes(1, 2))
        return {name.replace("kv_b", "k_b"): turned, name.replace("kv_b", "v_b"): values.copy()}
    return {name: numbers}


def _parts_taking_turns(name: str, numbers: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """gpt-oss's: [experts, in, out], or biases; gate and up take turns."""
    stem, kind = (name.removesuffix("_bias"), "bias") if name.endswith("_bias") else (name, "weight")
    sides = {"down": numbers} if "down" in name else {"gate": numbers[..., 0::2], "up": numbers[..., 1::2]}
    return {
        f"{stem.replace('gate_up', side)}.{kind}": np.ascontiguousarray(
            some.swapaxes(1, 2) if kind == "weight" else some
        )
        for side, some in sides.items()
    }


def _joined(name: str, parts: list[NDArray[np.float32]], config: Any) -> NDArray[np.float32]:
    """And back."""
    if config.model_type == "gpt_oss":
        turned = [part if name.endswith("_bias") else part.swapaxes(1, 2) for part in parts]
        return turned[0] if len(turned) == 1 else np.stack(turned, -1).reshape(*turned[0].shape[:-1], -1)
    if "kv_b_proj" in name:
        return np.concatenate((parts[0].swapaxes(1, 2), parts[1]), 1).reshape(-1, config.kv_lora_rank)
    return np.concatenate(parts, 1)


def _gguf_name(names: gguf.TensorNameMap, name: str) -> str:
    found = str(names.get_name(name, (".weight", ".bias")))
    return found if found.endswith((".weight", ".bias")) else f"{found}.weight"


def pack(
    numbers: NDArray[np.float32], kind: Kind, seed: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """`numbers` as stored, and what they are when read back."""
    packed = _random_blocks(numbers, kind, seed) if kind in _K_SCALES else gguf.quants.quantize(numbers, kind)
    return packed, gguf.quants.dequantize(packed, kind)


def _random_blocks(like: NDArray[np.float32], kind: Kind, seed: np.random.Generator) -> NDArray[np.uint8]:
    """Random blocks that make numbers as large as those of `like`."""
    *rows, columns = like.shape
    elements, nbytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = seed.integers(0, 256, (*rows, columns // elements, nbytes), dtype=np.uint8)
    packed = blocks.reshape(*rows, -1)
    _set_scales(blocks, _K_SCALES[kind], 1.0)
    _set_scales(blocks, _K_SCALES[kind], float(like.std() / gguf.quants.dequantize(packed, kind).std()))
    return packed


def _set_scales(blocks: NDArray[np.uint8], where: _Scales, size: float) -> None:
    for start, scale in ((where.scale, size), (where.minimum, size * where.ratio)):
        if start is not None:
            blocks[..., start : start + 2] = np.array([scale], dtype=np.float16).view(np.uint8)


def _heads(name: str, config: Any) -> int:
    """How many heads the rows of a query or key projection make; 0 for any other."""
    if ".q_proj." in name:
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if ".k_proj." in name else 0


def permute(numbers: NDArray[np.float32], heads: int, *, back: bool = False) -> NDArray[np.float32]:
    """Rows of each head from halves to neighbouring pairs, as rotary positions want them."""
    if not heads:
        return numbers
    half = len(numbers) // heads // 2
    shape = (heads, half, 2) if back else (heads, 2, half)
    return np.ascontiguousarray(numbers.reshape(*shape, *numbers.shape[1:]).swapaxes(1, 2).reshape(numbers.shape))


def _write_keys(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if hasattr(config, "kv_lora_rank"):
        _write_latent(writer, config)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(int(head_dim * config.rope_parameters.get("partial_rotary_factor", 1)))
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    _write_rope(writer, config.rope_parameters, head_dim)
    experts = getattr(config, "n_routed_experts", None) or getattr(config, "num_experts", None)
    if experts:
        _write_experts(writer, config, experts)


def _write_experts(writer: gguf.GGUFWriter, config: Any, count: int) -> None:
    writer.add_expert_count(count)
    writer.add_expert_used_count(config.num_experts_per_tok)
    for key, add in (
        ("moe_intermediate_size", writer.add_expert_feed_forward_length),
        ("shared_expert_intermediate_size", writer.add_expert_shared_feed_forward_length),
        ("n_shared_experts", writer.add_expert_shared_count),
        ("first_k_dense_replace", writer.add_leading_dense_block_count),
        ("routed_scaling_factor", writer.add_expert_weights_scale),
    ):
        if getattr(config, key, None):
            add(getattr(config, key))
    if config.model_type == "gpt_oss":
        writer.add_expert_feed_forward_length(config.intermediate_size)
    if config.model_type in ("deepseek_v3", "glm4_moe"):
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
        writer.add_expert_weights_norm(config.norm_topk_prob)
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)


def _write_latent(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_head_count_kv(1)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.qk_nope_head_dim + config.qk_rope_head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    if config.q_lora_rank:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)
    if "mscale_all_dim" in config.rope_parameters:
        writer.add_rope_scaling_yarn_log_mul(0.1 * config.rope_parameters["mscale_all_dim"])


def add_key(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    """Of the type that `value` has."""
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


def write_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Three special tokens, then bytes, and words where there are more: the least that llama.cpp loads."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(f"w{n}" for n in range(259, size))]
    types = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens[:size])
    writer.add_token_scores([0.0] * size)
    writer.add_token_types((types + [gguf.TokenType.NORMAL] * size)[:size])


def _write_rope(writer: gguf.GGUFWriter, rope: dict[str, Any], head_dim: int) -> None:
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope["rope_type"]
    if kind in _ROPE_TYPES:
        writer.add_rope_scaling_type(_ROPE_TYPES[kind])
        _WRITERS[kind](writer, rope)
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, head_dim))


def _write_linear(writer: gguf.GGUFWriter, rope: dict[str, Any]) -> None:
    writer.add_rope_scaling_factor(rope["factor"])


def _write_yarn(writer: gguf.GGUFWriter, rope: dict[str, Any]) -> None:
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for key, add in (
        ("attention_factor", writer.add_rope_scaling_yarn_attn_factor),
        ("beta_fast", writer.add_rope_scaling_yarn_beta_fast),
        ("beta_slow", writer.add_rope_scaling_yarn_beta_slow),
    ):
        if key in rope:
            add(rope[key])


def _write_longrope(writer: gguf.GGUFWriter, rope: dict[str, Any]) -> None:
    trained = rope["original_max_position_embeddings"]
    writer.add_rope_scaling_orig_ctx_len(trained)
    writer.add_rope_scaling_attn_factors(long_factor(256, trained))
    for name in ("short", "long"):
        writer.add_tensor(f"rope_factors_{name}.weight", np.array(rope[f"{name}_factor"], dtype=np.float32))


def long_factor(context: int, trained: int) -> float:
    """LongRoPE's."""
    return float(np.sqrt(1 + np.log(context / trained) / np.log(trained)))


_WRITERS: Final[dict[str, Callable[[gguf.GGUFWriter, dict[str, Any]], None]]] = {
    "linear": _write_linear,
    "yarn": _write_yarn,
    "longrope": _write_longrope,
}


def llama3_divisors(rope: dict[str, Any], head_dim: int) -> NDArray[np.float32]:
    """Llama 3's scaling, wavelength by wavelength, as its authors describe it."""
    frequencies = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    longest = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    shortest = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    divisors = []
    for wavelength in 2 * np.pi / frequencies:
        smooth = rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]
        smooth /= rope["high_freq_factor"] - rope["low_freq_factor"]
        between = 1 / ((1 - smooth) / rope["factor"] + smooth)
        divisors.append(1.0 if wavelength < shortest else rope["factor"] if wavelength > longest else between)
    return np.array(divisors, dtype=np.float32)

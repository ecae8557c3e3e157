"""The zoo: a row for each family and variant, as a tiny seeded checkpoint of the reference implementation.

The checkpoints are made so that they can fail: matrices keep the size of what passes through them, norms and biases are
far from their defaults, no two sizes are alike, and `PROMPT` is longer than every window, page and chunk in the tests.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers
from torch import Tensor

from unillm.models.contract import Placement
from unillm.models.ops.cpu.kernels import Kernels
from unillm.registry.files import ModelFiles

PLACE: Final = Placement(torch.device("cpu"), torch.float32)
EXACT: Final = replace(PLACE, kernels=Kernels.open(2, exact=True))
ROUNDED: Final = replace(PLACE, kernels=Kernels.open(2))
PROMPT: Final = 70

# Plain torch, and the kernels as they are exact; the latter say so where they are not built.
places: Final = pytest.mark.parametrize(
    "place",
    [
        pytest.param(PLACE, id="plain"),
        pytest.param(
            EXACT, id="kernels", marks=pytest.mark.skipif(EXACT.kernels is None, reason="no CPU kernels here")
        ),
    ],
)
TOLERANCE: Final = 1e-4

_SIZES: Final = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-3,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}

# Rows of 256 numbers, which K-quants need.
_WIDE: Final = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
}


@dataclass(frozen=True)
class Row:
    """A variant: what it changes in the family's tiny config. Its name stands for it."""

    name: str
    family: str
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    gguf: bool = True  # whether that format has keys for what is special here
    light: bool = False  # whether the larger matrices of tests are slow for it
    config: str = ""  # the reference's classes, where the family's name does not lead to them
    model: str = ""
    turns: bool = True  # whether queries and keys turn with their positions
    attention: str = "eager"  # which of the reference's: Falcon's eager one adds slopes twice
    own_eps: bool = True  # whether its files say by how much norms are kept from dividing by 0
    rare: bool = False  # whether all of its tests are slow: a variant of a row that is not

    @property
    def _rope_type(self) -> str:
        return str(self.settings.get("rope_parameters", {}).get("rope_type", "default"))

    @property
    def stepwise(self) -> bool:
        """Whether the reference depends on how a sequence is cut, so that its cached steps are what counts."""
        return self._rope_type in ("dynamic", "longrope")

    @property
    def rotary(self) -> bool:
        return self.turns and not self.family.endswith("Mamba")

    @property
    def scaled(self) -> bool:
        return self._rope_type != "default"

    @property
    def mixed(self) -> bool:
        """Whether its layers are experts."""
        return "experts" in str(self.settings) and self.settings.get("num_local_experts") != 0

    @property
    def windowed(self) -> bool:
        return self.settings.get("sliding_window") is not None

    def wide(self) -> "Row":
        settings = {key: 256 if key.endswith("intermediate_size") else value for key, value in self.settings.items()}
        return replace(self, name=f"{self.name}-wide", settings={**settings, **_WIDE})


def _rope(kind: str, theta: float = 10_000.0, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


_LLAMA3: Final = _rope(
    "llama3",
    500_000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)
_YARN: Final = _rope("yarn", factor=4.0, original_max_position_embeddings=64)
_DIVISORS: Final[dict[str, Any]] = {
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.0, 2.5],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 9.0],
}
_SHARP: Final = {**_YARN["rope_parameters"], "attention_factor": 1.3, "beta_fast": 4.0, "beta_slow": 0.5}
_WINDOW: Final = {"use_sliding_window": True, "sliding_window": 24}

_EXPERTS: Final = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

_OLMOE: Final = {"num_experts": 6, "num_experts_per_tok": 3, "eos_token_id": None}

_OSS: Final = {
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
    "head_dim": 16,
    **_rope("yarn", 150_000.0, factor=4.0, original_max_position_embeddings=64, truncate=False),
}

_LATENT: Final = {
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.7,
    "num_key_value_heads": 4,
    "q_lora_rank": 40,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 20,
}
_GROUPS: Final = {"n_group": 3, "topk_group": 2}
_DEEP: Final = _rope("yarn", factor=4.0, original_max_position_embeddings=64, mscale=0.8, mscale_all_dim=0.8)

_GRANITE_MOE: Final = {
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "embedding_multiplier": 0.3,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.2,
    "logits_scaling": 2.5,
}
_GLM: Final = {
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.7,
    "head_dim": 16,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
}

_DBRX: Final = {
    "d_model": 64,
    "attn_config": {"clip_qkv": 1.5, "kv_n_heads": 2, "rope_theta": 50_000.0},
    "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 96, "moe_num_experts": 5, "moe_top_k": 2},
    **_rope("default", 50_000.0),
}
_PHIMOE: Final = {"num_local_experts": 5, "num_experts_per_tok": 2, "router_jitter_noise": 0.2}

# The reference turns by the divisors of short texts in long ones too, so that none here are.
_MSCALED: Final = _rope(
    "longrope", **_DIVISORS, short_mscale=1.3, long_mscale=1.3, original_max_position_embeddings=128
)

_MAMBA: Final = {"state_size": 5, "intermediate_size": 96, "layer_norm_epsilon": 1e-3}

_MAMBA2: Final = {
    "num_heads": 8,
    "head_dim": 16,
    "n_groups": 2,
    "state_size": 8,
    "chunk_size": 16,
    "layer_norm_epsilon": 1e-3,
    "pad_token_id": 0,
}
_SSD: Final = {
    "mamba_n_heads": 8,
    "mamba_d_state": 12,
    "mamba_d_conv": 3,
    "mamba_n_groups": 2,
    "mamba_chunk_size": 16,
    "pad_token_id": 0,
}
_H1: Final = {
    **_SSD,
    "mamba_d_ssm": 96,
    "mamba_n_heads": 6,
    "embedding_multiplier": 1.3,
    "lm_head_multiplier": 0.7,
    "mlp_multipliers": [0.8, 1.2],
    "key_multiplier": 0.6,
    "attention_in_multiplier": 1.1,
    "attention_out_multiplier": 0.9,
    "ssm_multipliers": [0.9, 1.2, 0.8, 1.4, 0.7],
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.75,
}
_GRANITE4: Final = {
    **_GRANITE_MOE,
    **_SSD,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "shared_intermediate_size": 48,
}
_JAMBA: Final = {
    "num_hidden_layers": 4,
    "attn_layer_period": 4,
    "attn_layer_offset": 2,
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "mamba_d_state": 6,
    "mamba_dt_rank": 3,
    "mamba_d_conv": 3,
}

_DELTA: Final = {
    "num_hidden_layers": 4,
    "head_dim": 24,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 10,
    **_rope("default", partial_rotary_factor=0.5),
}
_LLAMA4: Final = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "intermediate_size_mlp": 80,
    "num_local_experts": 5,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 24,
    "floor_scale": 16,
    "attn_scale": 0.3,
    **_rope("default", 500_000.0),
}
_RWKV4: Final = {"attention_hidden_size": 80, "layer_norm_epsilon": 1e-3, "rescale_every": 0, "context_length": 256}
_LFM2: Final = {
    "norm_eps": 1e-3,
    "num_hidden_layers": 4,
    "block_auto_adjust_ff_dim": False,
    "layer_types": ["conv", "full_attention", "conv", "conv"],
    "tie_word_embeddings": True,
}
_RECURRENT_GEMMA: Final = {
    "rms_norm_eps": 0.1,
    "num_key_value_heads": 1,
    "intermediate_size": 192,
    "lru_width": 96,
    "attention_window_size": 24,
    "tie_word_embeddings": True,
}

_NORM: Final = re.compile(r"norm|ln_|layernorm")
_TABLE: Final = re.compile(r"embed(?!_out)|wte|wpe")

_LOCAL: Final = {"sliding_window": 24}
_PACES: Final = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    }
}
_GEMMA: Final = {"rms_norm_eps": 0.1, "head_dim": 24, "tie_word_embeddings": True}
_GEMMA2: Final = {**_GEMMA, **_LOCAL, "query_pre_attn_scalar": 20}
_PHI3: Final = {"pad_token_id": 0}
_SCALES: Final = {
    "rms_norm_eps": 0.01,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.2,
    "logits_scaling": 5.0,
}
_OLMO3: Final = {
    "rope_parameters": {
        "full_attention": _YARN["rope_parameters"],
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    }
}

_MIXED: Final = ["sliding_attention", "full_attention", "sliding_attention"]
_COHERE: Final = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "layer_norm_eps": 1e-3,
    "logit_scale": 0.3,
    "tie_word_embeddings": True,
}
_STABLE: Final = {"layer_norm_eps": 1e-3, "partial_rotary_factor": 0.5}
_FALCON: Final = {"layer_norm_epsilon": 1e-3, "ffn_hidden_size": 96, "tie_word_embeddings": True}
_GPT: Final = {"n_inner": 96, "layer_norm_epsilon": 5e-3, "tie_word_embeddings": True}
_BLOOM: Final = {"layer_norm_epsilon": 1e-3, "tie_word_embeddings": True}
_SIX: Final = {"hidden_size": 96, "num_attention_heads": 6}
_GPT_NEO: Final = {
    "num_hidden_layers": 4,
    "attention_types": [[["global", "local"], 2]],
    "window_size": 24,
    "layer_norm_epsilon": 1e-3,
    "tie_word_embeddings": True,
}
_NEOX: Final = {"layer_norm_eps": 1e-3, **_rope("default", partial_rotary_factor=0.5)}
_GROUPED: Final = {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}
_OPT: Final = {"ffn_dim": 96, "word_embed_proj_dim": 64, "tie_word_embeddings": True}

_NORMED: Final = {"qk_layernorm": True, "use_parallel_residual": True}
_AFTER: Final = {"do_layer_norm_before": False, "word_embed_proj_dim": 40}
_SLOPED: Final = {**_FALCON, "alibi": True, "bias": True, "multi_query": False, "parallel_attn": False}
_MINISTRAL3: Final = {
    "head_dim": 24,
    "rope_parameters": {
        **_YARN["rope_parameters"],
        "llama_4_scaling_beta": 0.3,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16,
    },
}

DENSE: Final = (
    Row("gemma", "Gemma", {**_GEMMA, "num_key_value_heads": 1}, light=True, gguf=False),
    Row("gemma2", "Gemma2", _GEMMA2, light=True, gguf=False),
    Row(
        "gemma3",
        "Gemma3",
        {**_GEMMA2, **_PACES, "num_hidden_layers": 6},
        light=True,
        gguf=False,
        config="Gemma3TextConfig",
    ),
    Row("phi3", "Phi3", {**_PHI3, **_LOCAL}, light=True, gguf=False),
    Row(
        "phi3.5",
        "Phi3",
        {**_PHI3, "original_max_position_embeddings": 48, **_rope("longrope", **_DIVISORS)},
        light=True,
        gguf=False,
    ),
    Row(
        "phi4-mini",
        "Phi3",
        {**_PHI3, "tie_word_embeddings": True, **_rope("default", partial_rotary_factor=0.75)},
        light=True,
        gguf=False,
    ),
    Row("granite", "Granite", {**_SCALES, "tie_word_embeddings": True}, light=True, gguf=False),
    Row("olmo", "Olmo", {"clip_qkv": 0.8}, light=True, gguf=False, own_eps=False),
    Row("olmo2", "Olmo2", light=True, gguf=False),
    Row("olmo3", "Olmo3", {**_LOCAL, **_OLMO3, "num_hidden_layers": 4}, light=True, gguf=False),
    Row("smollm3", "SmolLM3", {"pad_token_id": 0, "num_hidden_layers": 4}, light=True, gguf=False),
    Row("ministral", "Ministral", {"head_dim": 24, **_LOCAL, "layer_types": _MIXED}, light=True, gguf=False),
    Row("ministral3", "Ministral3", _MINISTRAL3, light=True, gguf=False),
    Row("starcoder2", "Starcoder2", {**_LOCAL, "norm_epsilon": 1e-3}, light=True, gguf=False),
    Row("glm4-9b", "Glm", {**_PHI3, "head_dim": 24}, light=True, gguf=False),
    Row("glm4-0414", "Glm4", {**_PHI3, "head_dim": 16}, light=True, gguf=False),
    Row("command-r", "Cohere", _COHERE, light=True, gguf=False),
    Row("command-r-plus", "Cohere", {**_COHERE, "use_qk_norm": True}, light=True, gguf=False),
    Row("command-r7b", "Cohere2", {**_COHERE, **_LOCAL, "num_hidden_layers": 4}, light=True, gguf=False),
    Row("stablelm", "StableLm", {"use_qkv_bias": True, **_STABLE}, light=True, gguf=False),
    Row("stablelm2-12b", "StableLm", {**_STABLE, **_NORMED}, light=True, gguf=False),
    Row("nemotron", "Nemotron", {"norm_eps": 1e-3, "hidden_act": "relu2"}, light=True, gguf=False),
    Row("falcon3", "Llama", {"head_dim": 24, **_rope("default", 1_000_042.0)}, light=True),
    Row("falcon-7b", "Falcon", _FALCON, light=True, gguf=False),
    Row("falcon-40b", "Falcon", _GROUPED, light=True, gguf=False),
    Row("falcon-11b", "Falcon", {**_GROUPED, "num_ln_in_parallel_attn": 1}, light=True, gguf=False),
    Row("falcon-rw", "Falcon", _SLOPED, light=True, gguf=False, turns=False, attention="sdpa"),
    Row("gpt2", "GPT2", _GPT, light=True, gguf=False, turns=False, model="GPT2LMHeadModel"),
    Row("starcoder", "GPTBigCode", _GPT, light=True, gguf=False, turns=False),
    Row("gpt-neo", "GPTNeo", _GPT_NEO, light=True, gguf=False, turns=False),
    Row("gpt-j", "GPTJ", {**_GPT, "rotary_dim": 8, "tie_word_embeddings": False}, light=True, gguf=False),
    Row("codegen", "CodeGen", {**_GPT, "rotary_dim": 8, "tie_word_embeddings": False}, light=True, gguf=False),
    Row("opt", "OPT", _OPT, light=True, gguf=False, turns=False, own_eps=False),
    Row("opt-350m", "OPT", {**_OPT, **_AFTER}, light=True, gguf=False, turns=False, own_eps=False),
    Row("pythia", "GPTNeoX", _NEOX, light=True, gguf=False),
    Row("gpt-neox-serial", "GPTNeoX", {**_NEOX, "use_parallel_residual": False}, light=True, gguf=False),
    Row("phi2", "Phi", {"layer_norm_eps": 1e-3, "num_key_value_heads": 4}, light=True, gguf=False),
    Row("bloom", "Bloom", _BLOOM, light=True, gguf=False, turns=False),
    Row("bloom-6-heads", "Bloom", {**_BLOOM, **_SIX}, light=True, gguf=False, turns=False),
    Row("mpt", "Mpt", {**_BLOOM, **_SIX, "attn_config": {"clip_qkv": 0.8}}, light=True, gguf=False, turns=False),
)

ROWS: Final = (
    Row("llama1", "Llama", {"num_key_value_heads": 4}),
    Row("llama2", "Llama"),
    Row("llama3", "Llama", _rope("default", 500_000.0)),
    Row("llama3.1", "Llama", _LLAMA3),
    Row("llama3.2", "Llama", {**_LLAMA3, "tie_word_embeddings": True, "head_dim": 24}),
    Row("codellama", "Llama", _rope("default", 1_000_000.0)),
    Row("yi", "Llama", _rope("default", 5_000_000.0)),
    Row("smollm2", "Llama", {"tie_word_embeddings": True, "num_attention_heads": 8, **_rope("default", 100_000.0)}),
    Row("llama-bias", "Llama", {"attention_bias": True, "mlp_bias": True}),
    Row("llama-linear", "Llama", _rope("linear", factor=4.0)),
    Row("llama-dynamic", "Llama", {**_rope("dynamic", factor=2.0), "max_position_embeddings": 48}, gguf=False),
    Row("llama-yarn", "Llama", _YARN),
    Row("llama-yarn-sharp", "Llama", {"rope_parameters": _SHARP}),
    Row("llama-yarn-smooth", "Llama", {"rope_parameters": {**_SHARP, "truncate": False}}, gguf=False),
    Row("llama-longrope", "Llama", _rope("longrope", **_DIVISORS, original_max_position_embeddings=48)),
    Row("mistral0.1", "Mistral", {"sliding_window": 24}),
    Row("mistral0.3", "Mistral", {"sliding_window": None}),
    Row("mistral-nemo", "Mistral", {"sliding_window": None, "head_dim": 24}),
    Row("qwen2", "Qwen2"),
    Row("qwen2-window", "Qwen2", {**_WINDOW, "max_window_layers": 1, "tie_word_embeddings": True}, gguf=False),
    Row(
        "qwen2-layer-types",
        "Qwen2",
        {**_WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        gguf=False,
    ),
    Row("qwen3", "Qwen3", {"head_dim": 24}),
    Row("mamba", "Mamba", {"state_size": 5, "time_step_rank": 3, "layer_norm_epsilon": 1e-3}, gguf=False),
    Row("mamba-bias", "Mamba", {**_MAMBA, "use_bias": True, "conv_kernel": 3, "tie_word_embeddings": True}, gguf=False),
    Row("falcon-mamba", "FalconMamba", {**_MAMBA, "mixer_rms_eps": 1e-3}, gguf=False),
    Row("qwen3-yarn", "Qwen3", {"head_dim": 16, "tie_word_embeddings": True, **_YARN}),
    Row(
        "qwen3-window", "Qwen3", {"head_dim": 16, "attention_bias": True, **_WINDOW, "max_window_layers": 2}, gguf=False
    ),
    Row("mixtral", "Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}, light=True),
    Row("qwen3-moe", "Qwen3Moe", {**_EXPERTS, "head_dim": 24, "norm_topk_prob": True}, light=True),
    Row(
        "qwen3-moe-mixed",
        "Qwen3Moe",
        {**_EXPERTS, "head_dim": 16, "mlp_only_layers": [1], "num_experts_per_tok": 3},
        gguf=False,
        light=True,
    ),
    *DENSE,
    Row("olmoe", "Olmoe", {**_OLMOE, "num_key_value_heads": 4}, light=True),
    Row("gpt-oss", "GptOss", {**_OSS, "sliding_window": 24}, light=True),
    Row(
        "deepseek-v2",
        "DeepseekV2",
        {**_LATENT, **_GROUPS, "topk_method": "group_limited_greedy"},
        light=True,
        gguf=False,
    ),
    Row("deepseek-v2-lite", "DeepseekV2", {**_LATENT, "q_lora_rank": None, **_DEEP}, light=True),
    Row("deepseek-v2-yarn", "DeepseekV2", {**_LATENT, **_DEEP}, light=True),
    Row("deepseek-v3", "DeepseekV3", {**_LATENT, **_GROUPS}, light=True),
    Row("deepseek-v3-yarn", "DeepseekV3", {**_LATENT, "n_group": 1, "topk_group": 1, **_DEEP}, light=True),
    Row("glm4-moe", "Glm4Moe", {**_GLM, "use_qk_norm": True}, light=True),
    Row("granite-moe", "GraniteMoe", _GRANITE_MOE, gguf=False, light=True),
    Row(
        "granite-moe-shared",
        "GraniteMoeShared",
        {**_GRANITE_MOE, "shared_intermediate_size": 48},
        gguf=False,
        light=True,
    ),
    Row("phimoe", "Phimoe", {**_PHIMOE, "lm_head_bias": True, "attention_bias": True}, gguf=False, light=True),
    Row("phi3.5-moe", "Phimoe", {**_PHIMOE, **_MSCALED}, gguf=False, light=True, rare=True),
    Row("dbrx", "Dbrx", _DBRX, gguf=False, light=True, own_eps=False),
    Row("mamba2", "Mamba2", _MAMBA2, gguf=False, light=True, turns=False),
    Row("falcon-h1", "FalconH1", {**_H1, "mamba_rms_norm": True}, gguf=False, light=True),
    Row("falcon-h1-unnormed", "FalconH1", _H1, gguf=False, light=True, rare=True),
    Row("granite4", "GraniteMoeHybrid", _GRANITE4, gguf=False, light=True, turns=False),
    Row(
        "granite4-dense",
        "GraniteMoeHybrid",
        {**_GRANITE4, "num_local_experts": 0},
        gguf=False,
        light=True,
        rare=True,
        turns=False,
    ),
    Row("jamba", "Jamba", _JAMBA, gguf=False, light=True, turns=False),
    Row("recurrent-gemma", "RecurrentGemma", _RECURRENT_GEMMA, gguf=False, light=True),
    Row("llama4", "Llama4", _LLAMA4, gguf=False, light=True, config="Llama4TextConfig"),
    Row(
        "llama4-unnormed",
        "Llama4",
        {**_LLAMA4, "use_qk_norm": False, "interleave_moe_layer_step": 2, "num_experts_per_tok": 2},
        gguf=False,
        light=True,
        rare=True,
        config="Llama4TextConfig",
    ),
    Row("olmoe-clipped", "Olmoe", {**_OLMOE, "clip_qkv": 0.8}, gguf=False, light=True, rare=True),
    Row("deepseek-llm", "Llama", {"num_key_value_heads": 4, **_rope("linear", factor=4.0)}, light=True, rare=True),
    Row("rwkv4", "Rwkv", _RWKV4, gguf=False, light=True, turns=False),
    Row("lfm2", "Lfm2", _LFM2, gguf=False, light=True),
    Row("lfm2-moe", "Lfm2Moe", {**_LFM2, **_EXPERTS, "num_dense_layers": 1}, gguf=False, light=True, rare=True),
    Row(
        "qwen3-next",
        "Qwen3Next",
        {**_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 48},
        gguf=False,
        light=True,
    ),
    Row("qwen3.5", "Qwen3_5", _DELTA, gguf=False, light=True, config="Qwen3_5TextConfig"),
    Row(
        "qwen3.5-moe",
        "Qwen3_5Moe",
        {**_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 48},
        gguf=False,
        light=True,
        rare=True,
        config="Qwen3_5MoeTextConfig",
    ),
    Row("qwen2-moe", "Qwen2Moe", {**_EXPERTS, "shared_expert_intermediate_size": 64}, light=True),
)


def rows(*, light: bool = True) -> list[Any]:
    """Every row as a parameter of a test; where it is not a `light` one, those that ask for it are slow."""
    slow = () if light else (pytest.mark.slow,)
    always = (pytest.mark.slow,)
    return [pytest.param(row, id=row.name, marks=always if row.rare else slow if row.light else ()) for row in ROWS]


BY_NAME: Final = {row.name: row for row in ROWS}


def config_of(row: Row) -> Any:
    family = getattr(transformers, row.config or f"{row.family}Config")
    return family(**{**_SIZES, **copy.deepcopy(row.settings)}, architectures=[class_of(row)])


def class_of(row: Row) -> str:
    return row.model or f"{row.family}ForCausalLM"


@cache
def reference(row: Row, seed: int = 1) -> Any:
    """The reference model of a row; the same object each time, so leave it as it is."""
    model = getattr(transformers, class_of(row))._from_config(config_of(row), attn_implementation=row.attention)
    perturb(model, seed)
    return model.eval()


@torch.no_grad()
def perturb(model: torch.nn.Module, seed: int) -> None:
    """Seeded weights: matrices N(0, 1 / sqrt(fan-in)), tables N(0, 1), norms about 1, biases far from 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "expert_bias")):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if _NORM.search(name) and name.endswith("weight"):
            parameter.copy_(parameter.mean().round() + 0.3 * noise)  # 1, or 0 where a norm is stored less 1
        elif parameter.dim() == 1:
            parameter.copy_(0.5 * noise)
        else:
            parameter.copy_(noise if _TABLE.search(name) else noise * parameter.shape[1] ** -0.5)


def rounded(model: Any, dtype: torch.dtype) -> Any:
    """A copy whose weights are stored in `dtype`; the reference's own tables of frequencies are not weights."""
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(dtype)
    return copied


def prompt(row: Row, length: int = PROMPT, seed: int = 7) -> list[int]:
    vocabulary = config_of(row).vocab_size
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (length,), generator=generator).tolist()


@torch.inference_mode()
def expected(model: Any, ids: Sequence[int], *, stepwise: bool = False) -> Tensor:
    """The reference's logits [tokens, vocabulary]."""
    if not stepwise:
        logits: Tensor = model(torch.tensor([ids]), use_cache=False).logits[0]
        return logits
    cache = transformers.DynamicCache(config=model.config)
    return torch.cat([model(torch.tensor([[token]]), past_key_values=cache).logits[0] for token in ids])


def distance(got: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


def save(model: Any, folder: Path) -> ModelFiles:
    """config.json and model.safetensors, as the reference writes them."""
    model.save_pretrained(folder)
    return files_in(folder, "model.safetensors")


def files_in(folder: Path, *weights: str, kind: Any = "safetensors") -> ModelFiles:
    files = {path.name: path for path in folder.iterdir()}
    return ModelFiles(folder.name, kind, tuple(folder / name for name in weights), files)


def keys_of(row: Row) -> dict[str, Any]:
    """config.json, as the reference writes it."""
    keys: dict[str, Any] = json.loads(_json_of(row))
    return keys


@cache
def _json_of(row: Row) -> str:
    text: str = config_of(row).to_json_string()
    return text

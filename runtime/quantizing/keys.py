"""A model's configuration as GGUF's key-values, for the llama-like architectures; what they cannot say is refused.

Also what else differs in a GGUF of the same model: the order of rows of query and key, and divisors of frequencies.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from ...models.contract import WeightMetadata
from ...models.parts.rope import RopeConfig
from ...models.parts.scaling import Dynamic, Linear, Llama3, Long, Unscaled, Yarn, plain, yarn_factor
from ...models.table import find
from ...models.text.llama import LlamaConfig
from ..errors import NotWritable
from .gguf_file import Value

# GGUF's word for each family's class.
ARCHITECTURES: Final[Mapping[str, str]] = {"Llama": "llama", "Mistral": "llama", "Qwen2": "qwen2", "Qwen3": "qwen3"}


def read_config(metadata: WeightMetadata, source: str) -> tuple[str, LlamaConfig]:
    """GGUF's name of the architecture, and the configuration. Raises `NotWritable` for a family that is not here."""
    family = find(metadata.architecture, metadata.format)
    name = ARCHITECTURES.get(family.__name__)
    config = family.Config.from_hf(metadata.config)
    if name is None or not isinstance(config, LlamaConfig):
        raise NotWritable(source, f"GGUF files of {metadata.architecture} are not written here")
    return name, config


def model_keys(architecture: str, config: LlamaConfig, vocabulary: int, source: str) -> dict[str, Value]:
    """Everything but the vocabulary's own keys."""
    window = config.window(0)
    if any(config.window(layer) != window for layer in range(config.layers)) or (window and architecture != "llama"):
        raise NotWritable(
            source, f"GGUF has no key for the windows of its layers, as an architecture of {architecture}"
        )
    numbers = {
        "vocab_size": vocabulary,
        "context_length": config.context,
        "embedding_length": config.hidden,
        "block_count": config.layers,
        "feed_forward_length": config.intermediate,
        "attention.head_count": config.heads.queries,
        "attention.head_count_kv": config.heads.keys,
        "attention.key_length": config.heads.dim,
        "attention.value_length": config.heads.dim,
        "rope.dimension_count": config.rope.dim,
    }
    if window:
        numbers["attention.sliding_window"] = window
    keys = {name: Value(number, "UINT32") for name, number in numbers.items()}
    keys["attention.layer_norm_rms_epsilon"] = Value(config.eps, "FLOAT32")
    keys["rope.freq_base"] = Value(config.rope.theta, "FLOAT32")
    keys |= _scaling_keys(config.rope, source)
    return {
        "general.architecture": Value(architecture, "STRING"),
        **{f"{architecture}.{name}": one for name, one in keys.items()},
    }


def _scaling_keys(rope: RopeConfig, source: str) -> dict[str, Value]:
    match rope.scaling:
        case Unscaled() | Llama3():  # the latter's divisors are a tensor
            found: dict[str, Any] = {}
        case Linear(factor):
            found = {"type": "linear", "factor": factor}
        case Yarn() as yarn if yarn.truncate and abs(yarn.factor - yarn_factor(yarn.stretch)) < 1e-6:
            found = {"type": "yarn", "factor": yarn.stretch, "original_context_length": yarn.trained}
            found |= {"yarn_beta_fast": yarn.beta_fast, "yarn_beta_slow": yarn.beta_slow}
        case Long(trained, factor):
            found = {"type": "longrope", "original_context_length": trained, "attn_factor": factor}
        case other:
            raise NotWritable(source, f"GGUF has no keys for its rotary scaling: {type(other).__name__.lower()}")
    kinds = {str: "STRING", int: "UINT32", float: "FLOAT32"}
    return {f"rope.scaling.{name}": Value(one, kinds[type(one)]) for name, one in found.items()}


def divisors(rope: RopeConfig) -> dict[str, Tensor]:
    """Tensors that a GGUF holds of the scaling, by name."""
    match rope.scaling:
        case Llama3() as scaling:
            unscaled = plain(rope.theta, rope.dim, torch.device("cpu"))
            scaled = scaling.frequencies(rope.theta, rope.dim, torch.zeros(1, dtype=torch.int64))
            return {"rope_freqs.weight": unscaled / scaled}
        case Long(_, _, Tensor() as short, Tensor() as long):
            return {"rope_factors_short.weight": short.float(), "rope_factors_long.weight": long.float()}
        case Dynamic() | _:
            return {}


def heads_to_turn(architecture: str, name: str, config: LlamaConfig) -> int:
    """How many heads' rows of this tensor have another order in a GGUF; 0: they have the same."""
    if architecture != "llama":
        return 0
    if ".attn_q." in name:
        return config.heads.queries
    return config.heads.keys if ".attn_k." in name else 0


def neighbouring(weight: Tensor, heads: int) -> Tensor:
    """Rows of each head from halves that turn together to neighbours that do, as `llama` wants them."""
    if not heads:
        return weight
    halves = weight.reshape(heads, 2, len(weight) // heads // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)

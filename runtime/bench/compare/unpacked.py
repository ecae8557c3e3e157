"""A synthetic GGUF as a folder that programs of the safetensors world load: the same weights in bf16, or in int8 rows.

Only what `bench.synthetic` writes is unpacked: its tensors need no turning. A folder is made once, beside the file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ....models.names import GGUF_NAMES, Names
from ....registry.files import ModelFiles
from ...weights.gguf import GGUFWeights

_ARCHITECTURE: Final = "qwen3"
_NAMES: Final = Names("blk", GGUF_NAMES)
_INT8: Final = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}


def is_bare(file: Path) -> bool:
    """Whether this is such a file: a Qwen3 without a vocabulary."""
    if file.suffix != ".gguf":
        return False
    config = _opened(file).metadata.config
    return (config["general.architecture"], config.get("tokenizer.ggml.model")) == (_ARCHITECTURE, "no_vocab")


def unpacked(file: Path) -> Path:
    """The folder of a bare file's numbers in bf16; any other file as it is."""
    return _made(file, "bf16") if is_bare(file) else file


def unpacked_int8(file: Path) -> Path:
    """The same with int8 rows under a scale each, and activations that are rounded by token."""
    return _made(file, "w8a8") if is_bare(file) else file


def _made(file: Path, form: str) -> Path:
    from safetensors.torch import save_file

    folder = file.with_name(f"{file.stem}-unpacked-{form}")
    config = folder / "config.json"
    if config.exists():
        return folder
    folder.mkdir(exist_ok=True)
    weights = _opened(file)
    save_file(dict(_tensors(weights, form)), folder / "model.safetensors", metadata={"format": "pt"})
    described = _described(dict(weights.metadata.config))
    config.write_text(json.dumps(described | ({"quantization_config": _INT8} if form == "w8a8" else {})), "utf-8")
    return folder


def _opened(file: Path) -> GGUFWeights:
    return GGUFWeights.open(ModelFiles(file.name, "gguf", (file,)))


def _tensors(weights: GGUFWeights, form: str) -> Iterator[tuple[str, Tensor]]:
    layers = int(weights.metadata.config[f"{_ARCHITECTURE}.block_count"])
    stems = [stem for stem in GGUF_NAMES if not stem.startswith(("model.", "lm_head"))]
    names = ["model.embed_tokens", "model.norm", *(f"model.layers.{i}.{stem}" for i in range(layers) for stem in stems)]
    for name in (f"{name}.weight" for name in names):
        weight = weights.load_tensor(_NAMES(name))
        numbers = weight if isinstance(weight, Tensor) else weight.dequantize()
        if form == "w8a8" and name.endswith("_proj.weight"):
            scale = numbers.float().abs().amax(1, keepdim=True) / 127
            yield name, (numbers / scale).round().to(torch.int8)
            yield f"{name}_scale", scale.to(torch.bfloat16)
        else:
            yield name, numbers.to(torch.bfloat16)


def _described(config: dict[str, Any]) -> dict[str, Any]:
    said = {key.removeprefix(f"{_ARCHITECTURE}."): value for key, value in config.items()}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": True,
        "hidden_size": said["embedding_length"],
        "intermediate_size": said["feed_forward_length"],
        "num_hidden_layers": said["block_count"],
        "num_attention_heads": said["attention.head_count"],
        "num_key_value_heads": said["attention.head_count_kv"],
        "head_dim": said["attention.key_length"],
        "vocab_size": said["vocab_size"],
        "max_position_embeddings": said["context_length"],
        "rope_theta": said["rope.freq_base"],
        "rms_norm_eps": said["attention.layer_norm_rms_epsilon"],
    }

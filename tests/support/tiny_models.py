"""Models of a few bytes, for tests that care about files and not about numbers."""

import json
from pathlib import Path

import gguf
import numpy as np


def safetensors(**tensors: bytes) -> bytes:
    """A safetensors file; each tensor is a row of F32s."""
    header: dict[str, object] = {}
    end = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def gguf_file(folder: Path, elements: int = 8, fill: float = 1.0) -> bytes:
    """A GGUF of the architecture llama with one tensor."""
    path = folder / "made.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_tensor("token_embd.weight", np.full((1, elements), fill, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = path.read_bytes()
    path.unlink()
    return data


CONFIG = json.dumps(
    {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "torch_dtype": "float32"}
).encode()


def original(fill: int = 1, size: int = 4096) -> dict[str, bytes]:
    """The files of a repository with the original weights of a model."""
    return {
        "README.md": b"# a model\n",
        "LICENSE": b"Apache\n",
        "config.json": CONFIG,
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"model": {}}',
        "modeling_evil.py": b"raise SystemExit\n",
        "pytorch_model.bin": b"PK\x03\x04 an older copy",
        "model.safetensors": safetensors(weight=bytes([fill]) * size),
    }


def sharded(parts: int = 3, size: int = 4096) -> dict[str, bytes]:
    """The same, its weights in several parts with an index."""
    files = {name: data for name, data in original().items() if name != "model.safetensors"}
    names = [f"model-{number:05}-of-{parts:05}.safetensors" for number in range(1, parts + 1)]
    for number, name in enumerate(names):
        files[name] = safetensors(**{f"weight{number}": bytes([number]) * size})
    places = {f"weight{number}": name for number, name in enumerate(names)}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    return files

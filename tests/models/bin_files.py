"""Writes a reference model in the formats that its own library no longer writes: `.bin`, whole, sharded and old."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unillm.registry.files import ModelFiles
from unillm.tests.models import zoo


def tensors_of(model: Any) -> dict[str, Tensor]:
    """Each tensor once, with what old files carry besides."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    return {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}


def write_bin(model: Any, folder: Path, *, zipped: bool = True) -> ModelFiles:
    model.config.save_pretrained(folder)
    torch.save(tensors_of(model), folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return zoo.files_in(folder, "pytorch_model.bin", kind="pytorch")


def write_bin_shards(model: Any, folder: Path) -> ModelFiles:
    names = _write_shards(model, folder, "pytorch_model", "bin", torch.save)
    return zoo.files_in(folder, *names, kind="pytorch")


def write_safetensors_shards(model: Any, folder: Path) -> ModelFiles:
    return zoo.files_in(folder, *_write_shards(model, folder, "model", "safetensors", save_file))


def _write_shards(model: Any, folder: Path, stem: str, ending: str, write: Any) -> list[str]:
    model.config.save_pretrained(folder)
    tensors = tensors_of(model)
    files = [f"{stem}-{number:05}-of-00003.{ending}" for number in (1, 2, 3)]
    homes = {name: files[index % 3] for index, name in enumerate(tensors)}
    for file in files:
        write({name: tensors[name] for name, home in homes.items() if home == file}, folder / file)
    _write_index(folder / f"{stem}.{ending}.index.json", homes, tensors)
    return files


def _write_index(path: Path, homes: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    total = sum(tensor.nbytes for tensor in tensors.values())
    path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": dict(homes)}))

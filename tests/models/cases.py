"""All that is held to others' numbers: rows of the zoo, and the fixtures of what transformers has no class for."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unillm.models.contract import Model, Placement
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import test_dense_fixtures, test_mixture_fixtures, test_rwkv, zoo
from unillm.tests.models.test_dense_fixtures import FIXTURES, load_files, stored

NAMES: Final = (*test_dense_fixtures.NAMES, *test_mixture_fixtures.NAMES, *test_rwkv.NAMES)


@dataclass(frozen=True)
class Case:
    """`row` is None where it is a fixture."""

    name: str
    row: zoo.Row | None = None

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> ModelFiles:
        """config.json and model.safetensors, with weights in `dtype`."""
        if self.row is not None:
            return zoo.save(zoo.rounded(zoo.reference(self.row), dtype), folder)
        shutil.copy(FIXTURES / self.name / "config.json", folder)
        tensors = load_file(FIXTURES / self.name / "model.safetensors")
        save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
        return zoo.files_in(folder, "model.safetensors")

    def load(self, files: ModelFiles, place: Placement) -> Model:
        return load_model(files, place) if self.row is not None else load_files(self.name, files, place)

    @property
    def ids(self) -> list[int]:
        return stored(self.name)[0][0] if self.row is None else zoo.prompt(self.row)

    @property
    def scores(self) -> Tensor:
        """Of all tokens of `ids`, from elsewhere."""
        if self.row is None:
            return stored(self.name)[1][0]
        return zoo.expected(zoo.reference(self.row), self.ids, stepwise=self.row.stepwise)

    def prompt(self, length: int, seed: int) -> list[int]:
        if self.row is not None:
            return zoo.prompt(self.row, length, seed)
        vocabulary = stored(self.name)[1].shape[-1]
        return torch.randint(0, vocabulary, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


CASES: Final = (*(Case(row.name, row) for row in zoo.ROWS), *(Case(name) for name in NAMES))


def rewrite(files: ModelFiles, folder: Path, way: str) -> ModelFiles:
    """The tensors of a safetensors file in another container: "bin", "old bin", or "shards" of either."""
    tensors = load_file(files.weights[0])
    shutil.copy(files.files["config.json"], folder)
    if way in ("bin", "old bin"):
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=way == "bin")
        return zoo.files_in(folder, "pytorch_model.bin", kind="pytorch")
    stem, ending, kind = (
        ("pytorch_model", "bin", "pytorch") if way == "shards of bin" else ("model",) + 2 * ("safetensors",)
    )
    homes = {name: f"{stem}-{index % 3 + 1:05}-of-00003.{ending}" for index, name in enumerate(tensors)}
    for file in sorted(set(homes.values())):
        held = {name: tensors[name] for name, home in homes.items() if home == file}
        torch.save(held, folder / file) if ending == "bin" else save_file(held, folder / file)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": homes}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    return zoo.files_in(folder, *sorted(set(homes.values())), kind=kind)

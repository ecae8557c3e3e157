"""A checkpoint in memory: what a loader promises, in a dictionary."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unillm.models.contract import Model, Part, WeightMetadata
from unillm.models.errors import WeightsError
from unillm.models.table import find
from unillm.tests.models import zoo
from unillm.tests.models.bin_files import tensors_of


class Tensors:
    """Remembers how many tensors it was asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.tensors = dict(tensors)
        self.metadata = WeightMetadata("safetensors", config["architectures"][0], config)
        self.taken = 0

    def tensor_names(self) -> list[str]:
        return list(self.tensors)

    def has_tensor(self, name: str) -> bool:
        return name in self.tensors

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        if name not in self.tensors:
            raise WeightsError(f"no tensor {name!r}", missing=[name])
        self.taken += 1
        tensor = self.tensors[name]
        return tensor if part is None else tensor.narrow(part.dim, part.start, part.stop - part.start)

    def release(self, name: str) -> None:
        """It holds nothing that could be given back."""


def tensors(row: zoo.Row) -> Tensors:
    return Tensors(tensors_of(zoo.reference(row)), zoo.keys_of(row))


def load(weights: Tensors) -> Model:
    family = find(weights.metadata.architecture, weights.metadata.format)
    return family.load(weights, family.Config.from_hf(weights.metadata.config), zoo.PLACE)

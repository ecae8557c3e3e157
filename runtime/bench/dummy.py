"""A model of a known shape whose weights are made where it computes, and nowhere else: speed needs no more of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from ...models.contract import Model, Part, Placement, WeightMetadata
from ...models.ops.cpu.kernels import Kernels
from ..device import choose_dtype, find_device, use_threads
from ..engine import Engine
from ..options import EngineOptions
from ..weights.load import build_model
from .synthetic import SHAPES, Shape

_SEED: Final = 1


def dummy_model(name: str, place: Placement) -> Model:
    """The model of that shape, of plain weights in what it computes in."""
    return build_model(_Made(SHAPES[name], place), place, name)


def dummy_engine(name: str, options: EngineOptions) -> Engine:
    """An engine over it, on the device and in the dtype of `options`."""
    device = find_device(options.device)
    kernels = Kernels.open(use_threads(options.threads), exact=options.exact) if device.type == "cpu" else None
    place = Placement(device, choose_dtype(options.dtype, None, device), kernels=kernels)
    again = partial(dummy_model, name, place)
    return Engine(again(), name=f"random weights of {name}", options=options, again=[again])


@dataclass(slots=True)
class _Made:
    """Weights that come to be when they are asked for, under the names of a GGUF."""

    shape: Shape
    place: Placement
    metadata: WeightMetadata = field(init=False)
    _shapes: Mapping[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        config: dict[str, Any] = {name: value.value for name, value in self.shape.keys(0).items()}
        self.metadata = WeightMetadata("gguf", "qwen3", config)
        self._shapes = dict(self.shape.tensors())

    @property
    def nbytes(self) -> int:
        return sum(map(prod, self._shapes.values())) * self.place.dtype.itemsize

    @property
    def stored_dtype(self) -> torch.dtype | None:
        return self.place.dtype

    def tensor_names(self) -> list[str]:
        return list(self._shapes)

    def has_tensor(self, name: str) -> bool:
        return name in self._shapes

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        """Matrices keep the size of what passes through them; norms lie about 1. A part is one of its own."""
        shape = list(self._shapes[name])
        if part is not None:
            shape[part.dim] = part.stop - part.start
        chance = torch.Generator(self.place.device).manual_seed(_SEED + list(self._shapes).index(name))
        noise = torch.randn(shape, generator=chance, device=self.place.device, dtype=self.place.dtype)
        return noise.mul_(0.1).add_(1) if len(shape) == 1 else noise.mul_(shape[-1] ** -0.5)

    def release(self, name: str) -> None:
        """Nothing is held."""

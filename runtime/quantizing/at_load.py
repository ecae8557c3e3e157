"""Weights that are quantised as they are loaded: which kind each gets, by its name in a checkpoint."""

from collections.abc import Callable
from typing import Final, TypeAlias

from ...models.config import ModelConfig
from ...models.encoding import fits
from ...models.names import gguf_name
from ...models.quantized import INT8
from ..errors import InvalidParameter
from .mixtures import MIXTURES

# The kind for a tensor of this name and shape; None: it stays as it is.
Chooser: TypeAlias = Callable[[str, tuple[int, ...]], str | None]

CHOICES: Final = {"q8_0": "q8_0", "q4_0": "q4_0", "q4_k": "q4_k_m", "int8": INT8}


def chooser(choice: str, names: list[str], config: ModelConfig) -> Chooser:
    """Of a model with these tensors, named as in a checkpoint. Raises `InvalidParameter` for a choice there is not."""
    if choice not in CHOICES:
        raise InvalidParameter("quantize", choice, f"one of {', '.join(CHOICES)}")
    if choice == "int8":
        return lambda _, shape: INT8 if len(shape) > 1 else None
    mixture, written = MIXTURES[CHOICES[choice]], {gguf_name(name) for name in names}
    layers = int(getattr(config, "layers", 0))

    def choose(name: str, shape: tuple[int, ...]) -> str | None:
        kind = mixture.kind_of(gguf_name(name), shape, written, layers)
        return kind if kind is not None and fits(kind, shape[-1]) else None

    return choose

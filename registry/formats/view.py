"""Where one tensor lies in a file: the only thing the readers say of it."""

from dataclasses import dataclass
from math import prod
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TensorView:
    """`nbytes` bytes at `offset` of `file` are tensor `name`.

    `dtype` is safetensors' or GGML's own word ("F32", "BF16", "I64", "Q4_K"); `shape` counts from the outermost
    dimension, as torch does (GGUF files store it the other way round).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int

    @property
    def num_elements(self) -> int:
        return prod(self.shape)

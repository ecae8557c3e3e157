"""Models of a known shape with random weights: speed does not depend on what the numbers are.

They are written once, as GGUF, into a folder of the caller's, quantised by our own hand. Such a file has no vocabulary,
and whoever runs it speaks in token ids, unless it is to have words: then it is a file of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from ..quantizing.encode import encoded
from ..quantizing.gguf_file import Planned, Value, write_gguf
from ..quantizing.mixtures import MIXTURES
from .words import vocabulary

_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder with query and key norms, whose table of tokens is its head as well."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    theta: float
    eps: float

    @property
    def parameters(self) -> int:
        return sum(rows * columns for _, (rows, columns) in self._matrices())

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names as a GGUF has them, with shapes."""
        yield from self._matrices()
        yield "output_norm.weight", (self.hidden,)
        for layer in range(self.layers):
            for name, size in (("attn", self.hidden), ("ffn", self.hidden)):
                yield f"blk.{layer}.{name}_norm.weight", (size,)
            for name in ("attn_q", "attn_k"):
                yield f"blk.{layer}.{name}_norm.weight", (self.head_dim,)

    def _matrices(self) -> Iterator[tuple[str, tuple[int, int]]]:
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        yield "token_embd.weight", (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            for name, shape in (
                ("attn_q", (wide, self.hidden)),
                ("attn_k", (narrow, self.hidden)),
                ("attn_v", (narrow, self.hidden)),
                ("attn_output", (self.hidden, wide)),
                ("ffn_gate", (self.intermediate, self.hidden)),
                ("ffn_up", (self.intermediate, self.hidden)),
                ("ffn_down", (self.hidden, self.intermediate)),
            ):
                yield f"blk.{layer}.{name}.weight", shape

    def keys(self, kind: int) -> dict[str, Value]:
        numbers = {
            "context_length": self.context,
            "embedding_length": self.hidden,
            "block_count": self.layers,
            "feed_forward_length": self.intermediate,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim,
            "vocab_size": self.vocabulary,
        }
        return {
            "general.architecture": Value("qwen3", "STRING"),
            "general.name": Value("random weights", "STRING"),
            "general.file_type": Value(kind, "UINT32"),
            "general.quantization_version": Value(2, "UINT32"),
            "tokenizer.ggml.model": Value("no_vocab", "STRING"),
            **{f"qwen3.{name}": Value(number, "UINT32") for name, number in numbers.items()},
            "qwen3.rope.freq_base": Value(self.theta, "FLOAT32"),
            "qwen3.attention.layer_norm_rms_epsilon": Value(self.eps, "FLOAT32"),
        }


SHAPES: Final[Mapping[str, Shape]] = {
    "qwen3-tiny": Shape(256, 512, 2, 4, 2, 64, 512, 2048, 1e6, 1e-6),
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e6, 1e-6),
    "qwen3-1.7b": Shape(2048, 6144, 28, 16, 8, 128, 151936, 40960, 1e6, 1e-6),
    "qwen3-4b": Shape(2560, 9728, 36, 32, 8, 128, 151936, 40960, 1e6, 1e-6),
}


def synthetic_model(
    name: str, kind: str, folder: Path, tell: Callable[[int, int], None], *, words: bool = False
) -> Path:
    """The file of that shape in a mixture of `quantizing`, in `folder`; written where it is not there yet."""
    target = folder / (f"{name}-{kind}-words.gguf" if words else f"{name}-{kind}.gguf")
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    shape, mixture = SHAPES[name], MIXTURES[kind]
    keys = shape.keys(mixture.number) | (vocabulary(shape.vocabulary) if words else {})
    listed = dict(shape.tensors())
    planned = []
    for number, (tensor, size) in enumerate(listed.items()):
        stored = mixture.kind_of(tensor, size, listed, shape.layers) or "F32"
        planned.append(Planned(tensor, stored, size, partial(_made, stored, size, number)))
    write_gguf(target, keys, planned, tell)
    return target


def _made(kind: str, size: tuple[int, ...], number: int) -> Tensor:
    """Matrices keep the size of what passes through them; norms lie about 1."""
    noise = torch.randn(size, generator=torch.Generator().manual_seed(_SEED + number))
    return encoded(kind, 1 + 0.1 * noise if len(size) == 1 else noise.mul_(size[-1] ** -0.5))

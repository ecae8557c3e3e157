"""How an engine is set up: what may be chosen, and the choices that serve when nobody does."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, get_args

from ..registry.files import ModelFiles
from .attention import AUTO, read_backends
from .errors import InvalidParameter
from .faults import Fault
from .kv.budget import MemoryBudget
from .kv.pages import Sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """`context` is the model's trained length, capped by memory, unless said. `kv_memory` is in bytes: half of what the
    device has left unless said, on a GPU all that steps leave free; it is taken bit by bit as it is needed, from
    `budget` where several engines share one. Up to a quarter of it may be taken beside it, in the host's memory, for
    pages of sequences that gave way. `kv_dtype` is what keys and values are kept in: "fp32", "fp16", "bf16", "int8",
    with a scale for each token and head, or "fp8" (e4m3), which is for GPUs: a CPU's kernels do not read it, plain
    torch does; "auto" is what the model computes in, but bf16 where activations are rounded to 8 bits anyway. A step
    computes at most `batch_tokens` tokens of at most `sequences` sequences. `prefix_cache` is how prompts share their
    beginnings: "radix", "hash" or "off". `threads` are the physical cores unless said, on a CPU. `exact` keeps
    activations in `dtype` where a CPU's kernels would round them to 8 bits to multiply them with quantised weights.
    `quantize` packs plain weights as they are loaded: "q8_0", "q4_0", "q4_k" or "int8". `draft` is what guesses tokens
    ahead, which changes speed and never text: a model of the same vocabulary, "ngram" (what followed the last tokens
    where they stood before) or "off". With `overlap` a step is prepared while the one before it is computed, on devices
    that compute by themselves; with `graphs`, too, steps of one token a sequence are recorded and replayed there.
    `attention_backend` is what attends, "auto" for what the device has: "eager", "sdpa", "triton", "flash-attn" or
    "flashinfer"; or two of them, as in "flashinfer,triton", for prompts and for single tokens. `page_size` becomes what
    these can read, if it is less.
    `faults` are for debugging: what is to go wrong, and where.
    """

    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    threads: int | None = None
    kv_memory: int | None = None
    kv_dtype: str = "auto"
    budget: MemoryBudget | None = None
    page_size: int = 16
    batch_tokens: int = 512
    sequences: int = 128
    prefix_cache: Sharing = "radix"
    exact: bool = False
    quantize: str | None = None
    draft: str | Path | ModelFiles = "ngram"
    overlap: bool = True
    graphs: bool = True
    attention_backend: str = AUTO
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for name in ("context", "threads", "kv_memory", "page_size", "batch_tokens", "sequences"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidParameter(name, value, "a whole number, 1 or more")
        for name in ("device", "dtype", "kv_dtype"):
            if not isinstance(value := getattr(self, name), str):
                raise InvalidParameter(name, value, "a name, or 'auto'")
        read_backends(self.attention_backend)
        if not all(isinstance(fault, Fault) for fault in self.faults):
            raise InvalidParameter("faults", self.faults, "such as read_faults makes of text")
        if self.prefix_cache not in get_args(Sharing):
            raise InvalidParameter("prefix_cache", self.prefix_cache, " or ".join(get_args(Sharing)))

    def with_batch(self, tokens: int | None, sequences: int | None) -> Self:
        """These options with another `batch_tokens`, `sequences`, or both; the one left open follows where it must."""
        if sequences is None:
            sequences = self.sequences if tokens is None else max(min(self.sequences, tokens - 1), 1)
        if tokens is None:
            tokens = max(self.batch_tokens, 2 * sequences)
        return replace(self, batch_tokens=tokens, sequences=sequences)

    @property
    def draft_model(self) -> str | Path | ModelFiles | None:
        """The model that guesses, where one does."""
        return None if self.draft in ("ngram", "off") else self.draft

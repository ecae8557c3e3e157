"""How an engine is set up: what may be chosen, and the choices that serve when nobody does."""

from dataclasses import dataclass, replace
from typing import Self, get_args

from .errors import InvalidParameter
from .faults import Fault
from .kv.pages import Sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """`context` is the model's trained length, capped by memory, unless said. `kv_memory` is in bytes: half of what the
    device has left unless said. A step computes at most `batch_tokens` tokens of at most `sequences` sequences.
    `prefix_cache` is how prompts share what they begin with: "radix", "hash" or "off". `threads` are the physical cores
    unless said, on a CPU. `exact` keeps activations in `dtype` where a CPU's kernels would round them to 8 bits to
    multiply them with quantised weights. `faults` are for debugging: what is to go wrong, and where.
    """

    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    threads: int | None = None
    kv_memory: int | None = None
    page_size: int = 16
    batch_tokens: int = 512
    sequences: int = 128
    prefix_cache: Sharing = "radix"
    exact: bool = False
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for name in ("context", "threads", "kv_memory", "page_size", "batch_tokens", "sequences"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidParameter(name, value, "a whole number, 1 or more")
        if self.prefix_cache not in get_args(Sharing):
            raise InvalidParameter("prefix_cache", self.prefix_cache, " or ".join(get_args(Sharing)))

    def with_batch(self, tokens: int | None, sequences: int | None) -> Self:
        """These options with another `batch_tokens`, `sequences`, or both; the one left open follows where it must."""
        if sequences is None:
            sequences = self.sequences if tokens is None else max(min(self.sequences, tokens - 1), 1)
        if tokens is None:
            tokens = max(self.batch_tokens, 2 * sequences)
        return replace(self, batch_tokens=tokens, sequences=sequences)

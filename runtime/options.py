"""How an engine is set up: what may be chosen, and the choices that serve when nobody does."""

from dataclasses import dataclass

from .errors import InvalidParameter


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """`context` is the model's trained length, capped by memory, unless said. `kv_memory` is in bytes: half of what the
    device has left unless said. A step computes at most `batch_tokens` tokens of at most `sequences` sequences.
    `threads` are the physical cores unless said, on a CPU. `exact` keeps activations in `dtype` where a CPU's kernels
    would round them to 8 bits to multiply them with quantised weights.
    """

    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    threads: int | None = None
    kv_memory: int | None = None
    page_size: int = 16
    batch_tokens: int = 512
    sequences: int = 128
    prefix_cache: bool = True
    exact: bool = False

    def __post_init__(self) -> None:
        for name in ("context", "threads", "kv_memory", "page_size", "batch_tokens", "sequences"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidParameter(name, value, "a whole number, 1 or more")

"""What this machine can do at most, by loops that do nothing else: bytes read a second, and small products made.

A matrix product may read somewhat faster than the plain loop does: it prefetches, and its threads share out the work as
they go. Figures near 1 of this limit are therefore as good as it gets, and a little above it no mistake.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Final

import torch

from ...models.ops.cpu.library import Context, instruction_sets, library, library_file

_BYTES: Final = 256 << 20
_ROUNDS: Final = 2_000_000
_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and integer operations a second, on `threads` threads; None where there are no kernels to measure with."""

    threads: int
    bandwidth: float | None = None
    int8: float | None = None


def measure_limits(threads: int) -> Limits:
    """The best of several tries: what disturbs a loop only makes it slower."""
    path = library_file()
    if path is None:
        return Limits(threads)
    loaded = library(path)
    context = Context(loaded, threads, instruction_sets(loaded)[0])
    memory = torch.ones(_BYTES, dtype=torch.uint8)
    reads, dots = [], []
    for _ in range(_TRIES):
        began = perf_counter()
        loaded.unillm_read(context.handle, memory.data_ptr(), _BYTES)
        reads.append(_BYTES / (perf_counter() - began))
        began = perf_counter()
        made = loaded.unillm_dots(context.handle, _ROUNDS)
        dots.append(made / (perf_counter() - began))
    context.close()
    return Limits(threads, max(reads), max(dots))

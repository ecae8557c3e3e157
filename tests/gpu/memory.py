"""On a GPU: memory that comes bit by bit, pages that cross beside what is computed, kernels that nobody waits for."""

import os
import tempfile
from collections.abc import Iterator
from time import perf_counter

import torch

from unillm.models.ops import gpu, reference
from unillm.models.ops.compiling import backlog
from unillm.models.ops.operands import Norm
from unillm.runtime.kv.cuda_driver import driver_of
from unillm.runtime.kv.device_memory import UNIT
from unillm.runtime.kv.memory import reserve
from unillm.runtime.kv.moves import moves_of

_SLEEP = 1 << 30  # cycles, about half a second
_PAGES, _PAGE = 64, 1 << 20


def memory_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Addresses stay, what a graph was recorded over grows, and the GPU has its memory back."""
    yield "the driver maps memory bit by bit", float(driver_of(device) is None), 0.0
    if driver_of(device) is None:
        return
    region = reserve(64 << 30, device)
    part = 8 * UNIT
    before, _ = torch.cuda.mem_get_info(device)
    region.commit(0, part)
    graph, numbers = torch.cuda.CUDAGraph(), region.bytes[: 2 * part]
    with torch.cuda.graph(graph):
        numbers[:part] += 1
    region.commit(part, 2 * part)
    after, _ = torch.cuda.mem_get_info(device)
    yield "bytes taken, from those that were asked for", abs(before - after - 2 * part + UNIT), 2.0 * UNIT
    for _ in range(3):
        graph.replay()
    yield "a graph over memory that grew", float((numbers[:part] != 3).sum() + numbers[part:].count_nonzero()), 0.0
    region.give_back(0, part)
    region.give_back(part, 2 * part)
    again, _ = torch.cuda.mem_get_info(device)
    yield "bytes given back, from those that were taken", abs(again - before), 2.0 * UNIT


def copying_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """A page is written anew once it was saved, and read once it has come back; the host waits for neither."""
    moves, pages = moves_of(device), list(range(_PAGES // 2))
    memory, found = (torch.zeros(_PAGES, _PAGE, dtype=torch.uint8, device=device) for _ in range(2))
    moves.save(memory, pages)  # which pins memory, for the next one to take
    torch.cuda.synchronize(device)
    began = perf_counter()
    torch.cuda._sleep(_SLEEP)  # type: ignore[no-untyped-call]
    memory.fill_(7)
    saved = moves.save(memory, pages)
    moves.claim(pages)
    memory[: _PAGES // 2] = 9
    there = [page + _PAGES // 2 for page in pages]
    moves.bring(memory, there, saved.data, pages)
    moves.claim(there)
    found.copy_(memory)
    waited = perf_counter() - began
    torch.cuda.synchronize(device)
    yield "pages that were saved too late", float((saved.data != 7).sum()), 0.0
    yield "pages that were read too early", float((found[_PAGES // 2 :] != 7).sum()), 0.0
    yield "pages that were not written anew", float((found[: _PAGES // 2] != 9).sum()), 0.0
    yield "seconds that the host waited for copies", waited, 0.2


def compiling_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """With an empty cache of kernels, plain torch serves until the first is there."""
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ["TRITON_CACHE_DIR"] = os.environ.get("TRITON_CACHE_DIR"), folder
        x, norm = torch.randn(4, 4097, device=device), Norm(torch.rand(4097, device=device), 1e-6)
        wanted = reference.rms_norm(x, norm)
        gpu.runs(device)
        began, missed = perf_counter(), gpu.missed()
        yield "by plain torch meanwhile", float((gpu.rms_norm(x, norm) - wanted).abs().max()), 0.0
        yield "seconds that somebody waited for a compiler", perf_counter() - began, 0.2
        yield "kernels that were there already", float(gpu.missed() != missed + 1), 0.0
        yield "compilers that hang", float(not backlog().wait(60)), 0.0
        missed = gpu.missed()
        yield "by the kernel", float((gpu.rms_norm(x, norm) - wanted).abs().max()), 1e-4
        yield "kernels that are not there yet", float(gpu.missed() - missed), 0.0
        if before is None:
            del os.environ["TRITON_CACHE_DIR"]
        else:
            os.environ["TRITON_CACHE_DIR"] = before

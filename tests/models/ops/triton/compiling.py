"""Compiles every kind of launch for a Hopper GPU that is not there, and prints what each one needs.

A process of its own: tests interpret kernels, and one process can do only one of both. Lines are JSON.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver, jit

from unillm.models.contract import AttentionSpec, StateTensor
from unillm.models.ops import gpu
from unillm.models.ops.operands import Choosing, Norm, Rotation
from unillm.models.ops.reference_matrix import Step
from unillm.models.ops.triton import matrix, rows, scans, weights
from unillm.tests.gpu.pages import paged
from unillm.tests.gpu.weights import packed_weights
from unillm.tests.models.states import COUNTS, batch_of

_HEADS, _KV_HEADS = 16, 8
_ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


class Absent:
    """A driver of a GPU that nothing is sent to."""

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


def compiled() -> Iterator[Any]:
    """Each kernel that launches come to; none is launched."""
    found: dict[str, Any] = {}
    run = jit.JITFunction.run

    def compile_only(self: Any, *operands: Any, grid: Any, **options: Any) -> None:
        kernel = run(self, *operands, grid=grid, **(options | {"warmup": True}))
        found[kernel.hash] = kernel

    jit.JITFunction.run = compile_only
    driver.set_active(Absent())
    with torch.inference_mode():
        _launch()
        _launch_scans()
        _launch_products()
    return iter(found.values())


def _launch() -> None:
    here = torch.device("cpu")
    for dim, pages in (
        *[(dim, torch.bfloat16) for dim in (64, 80, 128, 256)],
        *[(128, dtype) for dtype in (torch.float16, torch.float32, torch.int8, torch.float8_e4m3fn)],
        (256, torch.float32),
    ):
        view, batch = paged([1, 600, 600], _KV_HEADS, dim, pages, [1, 40, 1], here)
        dtype = pages if pages in gpu.NUMBERS else torch.bfloat16
        both = torch.zeros(42, _HEADS + 2 * _KV_HEADS, dim, dtype=dtype)
        q, k, v = both.split_with_sizes((_HEADS, _KV_HEADS, _KV_HEADS), 1)
        turns, norm = torch.zeros(42, dim // 2), Norm(torch.zeros(dim), 1e-6)
        full = AttentionSpec(0.1, 300, 20.0, torch.zeros(_HEADS), torch.zeros(_HEADS))
        for spec in (AttentionSpec(0.1), full):
            gpu.attention(q, k, v, norm, norm, Rotation(turns, turns), spec, view, batch)
    for columns in (1024, 8192):
        x = torch.zeros(4, columns, dtype=torch.bfloat16)
        rows.rms_norm(x, Norm(torch.zeros(columns), 1e-6), x)
        rows.gated(x)
        rows.gated(x, "gelu_tanh")
    count, few = torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.float64)
    for scores in (torch.zeros(4, 151936), torch.zeros(4, 151936, dtype=torch.bfloat16)):
        gpu.choose(scores, Choosing(few, few, few, count, count, count.int()), count, torch.zeros(4))


def _launch_scans() -> None:
    """Of a Mamba, a Mamba 2, a gated delta net and an RWKV 7, and what else recurrent layers ask for."""
    count, channels, heads = sum(COUNTS), 1000, 8
    x, few, pace = torch.zeros(count, channels), torch.zeros(count, 16), torch.zeros(channels)
    batch, view = batch_of(StateTensor((channels,)))
    scans.gated_scan(x, x, "kept", view, batch)
    scans.previous(x.bfloat16(), "kept", view, batch)
    batch, view = batch_of(StateTensor((3, channels)))
    scans.weighted_mean(x, x, pace, pace, "kept", view, batch)
    scans.causal_conv(x.bfloat16(), torch.zeros(4, channels), pace, True, "kept", view, batch)
    batch, view = batch_of(StateTensor((channels, 16)))
    scans.selective_scan(x, x, torch.zeros(channels, 16), few, few, "kept", view, batch)
    for width, size, paces, forgets in ((64, 128, 1, False), (128, 128, 1, True), (64, 64, 64, True)):
        q, v = torch.zeros(count, heads, size), torch.zeros(count, heads, width)
        beside = q if forgets else None
        step = Step(q, q, v, torch.zeros(count, heads, paces), beside, beside)
        batch, view = batch_of(StateTensor((heads, width, size)))
        matrix.matrix_scan(step, "kept", view, batch)


def _launch_products() -> None:
    """Of every kind of weight with few rows and with many, and of each class of their number with two kinds."""
    for name, weight in packed_weights(2048, 1024, torch.device("cpu")).items():
        one = weights.Matrix.of(weight)
        for count in (1, 4, 16, 32, 64, 256) if name in ("Q4_K", "Q8_0") else (1, 256):
            x, out = torch.zeros(count, 1024, dtype=torch.bfloat16), torch.zeros(count, 2048, dtype=torch.bfloat16)
            weights.multiply(x, one, out, out[0], None)
        weights.take_rows(one, torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1024, dtype=torch.bfloat16))
    some = weights.Matrix.of(torch.zeros(4, 2048, 1024, dtype=torch.bfloat16))
    for dtype in gpu.NUMBERS:
        for count in (1, 8):
            x, chosen = torch.zeros(count, 1024, dtype=dtype), torch.zeros(count, 2, dtype=torch.int64)
            weights.multiply_chosen(x, some, chosen, torch.zeros(2 * count, 2048, dtype=dtype))


def needs(kernel: Any) -> dict[str, Any]:
    """Shared memory in bytes, registers of a thread, and bytes that do not fit these."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(kernel.asm["ptx"])
        command = [str(_ASSEMBLER), "-v", "-arch=sm_90a", str(source), "-o", str(source.with_suffix(".bin"))]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {
        "name": kernel.metadata.name,
        "shared": kernel.metadata.shared,
        "registers": int(re.findall(r"Used (\d+) registers", told)[0]),
        "spilled": int(re.findall(r"(\d+) bytes spill stores", told)[0]),
    }


if __name__ == "__main__":
    for each in compiled():
        sys.stdout.write(json.dumps(needs(each)) + "\n")

"""Kernels become programs of a Hopper GPU, on any machine: what the interpreter accepts, the compiler may not."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

_SHARED = 227 << 10  # bytes that a program may have
_SPILLED = 256  # bytes of a thread: a few numbers that are read once


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembler that comes with triton is looked for on x86")
def test_every_kind_of_launch_compiles_and_fits_a_processor(tmp_path: Path) -> None:
    kernels = [json.loads(line) for line in told_by("compiling", tmp_path).splitlines()]
    names = {each["name"] for each in kernels}
    assert {"_runs_kernel", "_blocks_kernel", "_prepare_kernel", "_choose_kernel"} <= names
    assert {"few_kernel", "many_kernel", "shares_kernel", "rows_kernel"} <= names
    assert [each for each in kernels if each["shared"] > _SHARED or each["spilled"] > _SPILLED] == []


@pytest.mark.slow
def test_plain_torch_serves_while_kernels_are_compiled_beside_it(tmp_path: Path) -> None:
    found = json.loads(told_by("compiling_later", tmp_path))
    assert found == {"missed": found["missed"], "same": 6, "launched": 2, "told": []}
    assert found["missed"] >= 2


def told_by(module: str, cache: Path) -> str:
    """What a process prints that compiles, and interprets nothing."""
    command = [sys.executable, "-m", f"unillm.tests.models.ops.triton.{module}"]
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    surroundings["TRITON_CACHE_DIR"] = str(cache)
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout

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
    command = [sys.executable, "-m", "unillm.tests.models.ops.triton.compiling"]
    surroundings = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    surroundings["TRITON_CACHE_DIR"] = str(tmp_path)
    told = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout
    kernels = [json.loads(line) for line in told.splitlines()]
    assert {"_runs_kernel", "_blocks_kernel", "_prepare_kernel", "_choose_kernel"} <= {each["name"] for each in kernels}
    assert [each for each in kernels if each["shared"] > _SHARED or each["spilled"] > _SPILLED] == []

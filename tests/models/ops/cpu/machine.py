"""The compiled kernels for tests: one context for each instruction set that this machine runs.

`UNILLM_KERNELS` names a library elsewhere: a build under the address sanitizer.
"""

import ctypes
import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

from unillm.models.ops.cpu.library import Context, instruction_sets, library, library_file

NUMBERS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 30, torch.int8: 24}


def found() -> ctypes.CDLL | None:
    elsewhere = os.environ.get("UNILLM_KERNELS")
    path = Path(elsewhere) if elsewhere else library_file()
    return None if path is None else library(path)


def sets() -> list[str]:
    loaded = found()
    return [] if loaded is None else instruction_sets(loaded)


def open_context(instruction_set: str, threads: int = 2) -> Context:
    loaded = found()
    assert loaded is not None
    return Context(loaded, threads, instruction_set)


def compiler() -> str | None:
    """The one that building the package would take."""
    named = os.environ.get("CXX") or (sysconfig.get_config_var("CXX") or "c++").split()[0]
    return shutil.which(named)


each_set = pytest.mark.parametrize(
    "instruction_set",
    sets() or [pytest.param("none", marks=pytest.mark.skip(reason="the CPU kernels are not built here"))],
)


def pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()

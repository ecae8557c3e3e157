"""The ARM kernels, cross-compiled and run by an emulator: the same bits as the portable ones make here.

Runs where `aarch64-linux-gnu-g++` and `qemu-aarch64` are.
"""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from unillm.tests.models.ops.cpu import machine

ROOT = Path(__file__).parents[4]
CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"


def build(compiler: str, to: Path) -> None:
    (table,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    flags = [flag for flag in table["extra-compile-args"] if not flag.startswith("-O")]
    sources = [*(ROOT / source for source in table["sources"]), Path(__file__).with_name("checksums.cpp")]
    include = ROOT / "models/ops/cpu"
    subprocess.run([compiler, *flags, "-O1", "-static", f"-I{include}", *map(str, sources), "-o", str(to)], check=True)


def checksums(*command: str) -> dict[str, dict[str, str]]:
    """Of each instruction set, by what was calculated."""
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, dict[str, str]] = {}
    for line in ran.stdout.splitlines():
        what, name, checksum = line.rsplit(" ", 2)
        found.setdefault(name, {})[what] = checksum
    return found


@pytest.mark.slow
def test_arm_kernels_make_the_bits_that_portable_ones_make(tmp_path: Path) -> None:
    compiler = machine.compiler()
    if compiler is None or shutil.which(CROSS) is None or shutil.which(EMULATOR) is None:
        pytest.skip(f"needs a C++ compiler, {CROSS} and {EMULATOR}")
    build(compiler, tmp_path / "here")
    build(CROSS, tmp_path / "arm")
    here = checksums(str(tmp_path / "here"))
    there = checksums(EMULATOR, "-cpu", "max", str(tmp_path / "arm"))
    assert set(there) == {"neon", "portable"}
    assert there["neon"] == there["portable"] == here["portable"]

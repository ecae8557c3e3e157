"""The kernels' own tests again, with the library built under the sanitizers of addresses and undefined behaviour."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from unillm.tests.models.ops.cpu import machine

ROOT = Path(__file__).parents[4]
FLAGS = ("-O1", "-g1", "-fPIC", "-shared", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def build(compiler: str, to: Path) -> None:
    (table,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    flags = [flag for flag in table["extra-compile-args"] if not flag.startswith(("-O", "-g"))]
    sources = [str(ROOT / source) for source in table["sources"]]
    subprocess.run([compiler, *flags, *FLAGS, *sources, "-o", str(to)], check=True)


@pytest.mark.slow
def test_no_kernel_touches_what_is_not_its_own(tmp_path: Path) -> None:
    compiler = machine.compiler()
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C++ compiler on Linux")
    library = tmp_path / "kernels.so"
    build(compiler, library)
    runtimes = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    environment = os.environ | {
        "UNILLM_KERNELS": str(library),
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).parent),
    ]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]

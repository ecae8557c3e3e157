"""Whether torch, its devices, our kernels and the threads are fit for work.

`probe` asks a process of its own and waits for it a few seconds, so that whoever only looks never waits for torch, nor
falls with it. `python -m unillm.runtime.health` is that process: it prints findings as JSON.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ..registry.amounts import bytes_text
from ..registry.health import Finding

_COMPILERS = ("c++", "g++", "clang++", "cl")
_GATHERED = ("avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimd", "asimddp")
_REBUILD = "pip install --force-reinstall --no-deps --no-cache-dir unillm-cli"


def start_probe() -> "subprocess.Popen[str]":
    """Begin to look; `end_probe` has what was found."""
    command = [sys.executable, "-P", "-m", __name__]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_probe(process: "subprocess.Popen[str]", seconds: float) -> list[Finding]:
    """What the process has found, or why it has found nothing."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        told = f"torch was not loaded within {seconds:.3g} seconds: the disk or the processor is busy"
        return [Finding("torch", "warn", told, "look again when the machine is quieter")]
    if process.returncode:
        last = (err.strip().splitlines() or [f"it ended with {process.returncode}"])[-1]
        return [Finding("torch", "fail", f"torch cannot be loaded: {last}", "pip install --force-reinstall torch")]
    return [Finding(**one) for one in json.loads(out)]


def processor_findings() -> Iterator[Finding]:
    """What can be told without torch."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", python)
    flags = _cpu_flags()
    if flags:
        yield Finding("processor", "ok", " ".join(one for one in _GATHERED if one in flags) or "no vector instructions")


def findings() -> Iterator[Finding]:
    """What torch has to say. Imports it."""
    import torch

    from .device import available_memory, devices, physical_cores

    yield Finding("torch", "ok", f"torch {torch.__version__}")
    for name in devices():
        yield Finding(name, "ok", f"{bytes_text(available_memory(torch.device(name)))} of memory are free")
    yield _kernels()
    if torch.cuda.is_available():
        yield _gpu_kernels()
    told, cores = os.environ.get("OMP_NUM_THREADS"), physical_cores()
    yield _threads(told, cores, torch.get_num_threads() if told else cores)


def _kernels() -> Finding:
    from ..models.ops.cpu import library

    slow = "quantised weights are many times slower without them"
    path = library.library_file()
    if path is None:
        compiler = next((name for name in _COMPILERS if shutil.which(name)), None)
        first = (
            ""
            if compiler
            else "install a C++ compiler (apt install g++, dnf install gcc-c++, xcode-select --install), then: "
        )
        why = "the package was built without them" if compiler else "there was no C++ compiler, nor is there one now"
        return Finding("kernels", "warn", f"{why}; {slow}", first + _REBUILD)
    try:
        sets = library.instruction_sets(library.library(path))
    except OSError as error:
        return Finding("kernels", "warn", f"they cannot be loaded: {error}; {slow}", _REBUILD)
    return Finding("kernels", "ok", f"{sets[0]} of {', '.join(sets)}")


def _gpu_kernels() -> Finding:
    from ..models.ops.backends import MODULES, missing
    from ..models.ops.gpu import INSTALLED

    if INSTALLED:
        beside = [name for name in MODULES if name != "triton" and missing(name) is None]
        told = f"; {' and '.join(beside)} can attend, by --attention-backend" if beside else ""
        return Finding("triton", "ok", f"attention, norms, gates and choices are Triton's kernels on this GPU{told}")
    return Finding(
        "triton", "warn", "it is not installed: plain torch computes on this GPU, slower", "pip install triton"
    )


def _threads(told: str | None, cores: int, threads: int) -> Finding:
    said = f"{threads} for {cores} cores"
    if told is not None and threads > cores:
        return Finding(
            "threads", "warn", f"OMP_NUM_THREADS={told}: {said}; they wait for each other", "unset OMP_NUM_THREADS"
        )
    if told is not None and threads < cores:
        return Finding("threads", "warn", f"OMP_NUM_THREADS={told}: {said}", "unset OMP_NUM_THREADS to use them all")
    return Finding("threads", "ok", said)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return next(
        (set(line.split(":")[1].split()) for line in lines if line.lower().startswith(("flags", "features"))), set()
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(one) for one in findings()]))

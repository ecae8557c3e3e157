"""What torch, the kernels and the threads are found to be; a process that hangs or falls is a finding too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unillm.models.ops.cpu import library
from unillm.runtime import health
from unillm.runtime.health import end_probe, findings, processor_findings


def started(script: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", script]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_everything_is_found_here() -> None:
    found = {one.name: one for one in findings()}
    assert {"torch", "cpu", "kernels", "threads"} <= set(found)
    assert found["cpu"].state == "ok"


def test_the_processor_is_told_without_torch() -> None:
    assert next(processor_findings()).told.startswith("Python 3.")


def test_a_process_that_takes_too_long_is_a_warning() -> None:
    (only,) = end_probe(started("import time; time.sleep(60)"), 0.1)
    assert (only.name, only.state) == ("torch", "warn")


def test_a_torch_that_cannot_be_loaded_is_a_failure_with_its_reason() -> None:
    (only,) = end_probe(started("raise ImportError('libfoo.so: no such file')"), 30)
    assert (only.state, "libfoo.so: no such file" in only.told) == ("fail", True)


@pytest.mark.parametrize(("compilers", "words"), [([], "install a C++ compiler"), (["g++"], "pip install")])
def test_missing_kernels_say_why_and_how(monkeypatch: pytest.MonkeyPatch, compilers: list[str], words: str) -> None:
    monkeypatch.setattr(library, "library_file", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in compilers else None)
    kernels = next(one for one in findings() if one.name == "kernels")
    assert kernels.state == "warn"
    assert (kernels.next_step or "").startswith(words)
    assert "--force-reinstall" in (kernels.next_step or "")


def test_kernels_that_cannot_be_loaded_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "_kernels.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "library_file", lambda: broken)
    kernels = next(one for one in findings() if one.name == "kernels")
    assert (kernels.state, kernels.told.startswith("they cannot be loaded")) == ("warn", True)


@pytest.mark.parametrize(
    ("told", "cores", "threads", "state"), [(None, 4, 4, "ok"), ("16", 4, 16, "warn"), ("1", 4, 1, "warn")]
)
def test_too_many_and_too_few_threads_are_warnings(told: str | None, cores: int, threads: int, state: str) -> None:
    assert health._threads(told, cores, threads).state == state

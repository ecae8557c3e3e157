"""Kernels that are compiled beside the work: who wants one goes on, one that cannot be made is told once."""

import logging
from collections.abc import Callable
from threading import Event, Thread

import pytest
import torch

from unillm.models.ops import compiling, gpu, reference
from unillm.models.ops.compiling import Backlog, NotCompiled, at_once, waits
from unillm.models.ops.operands import Norm
from unillm.models.ops.triton import rows

LONG = 30.0  # seconds, against hangs


class Compiler:
    """As slow as it is told."""

    def __init__(self) -> None:
        self.go = Event()
        self.made: list[str] = []

    def of(self, name: str) -> Callable[[], None]:
        def make() -> None:
            assert self.go.wait(LONG)
            self.made.append(name)

        return make


def test_a_kernel_is_compiled_once_while_who_wants_it_goes_on() -> None:
    compiler, backlog = Compiler(), Backlog()
    for _ in range(3):
        assert isinstance(backlog.miss("a", "kernel a", compiler.of("a")), NotCompiled)
        assert isinstance(backlog.miss("b", "kernel b", compiler.of("b")), NotCompiled)
    assert compiler.made == []
    assert not backlog.wait(0.01)
    compiler.go.set()
    assert backlog.wait(LONG)
    assert (compiler.made, backlog.missed) == (["a", "b"], 6)
    backlog.miss("c", "kernel c", compiler.of("c"))  # by another thread, the first has ended
    assert backlog.wait(LONG)
    assert compiler.made == ["a", "b", "c"]


def test_what_cannot_be_compiled_is_told_once_and_nobody_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    backlog, compiler = Backlog(), Compiler()
    compiler.go.set()

    def fail() -> None:
        raise RuntimeError("the assembler is missing")

    with caplog.at_level(logging.WARNING):
        backlog.miss("a", "the kernel a", fail)
        assert backlog.wait(LONG)
        missed = backlog.missed
        assert isinstance(backlog.miss("a", "the kernel a", fail), NotCompiled)
        assert backlog.missed == missed
        backlog.miss("b", "the kernel b", compiler.of("b"))
        assert backlog.wait(LONG)
    assert compiler.made == ["b"]
    assert [record.getMessage() for record in caplog.records] == [
        "plain torch serves in place of the kernel a, which cannot be compiled: the assembler is missing"
    ]


def test_a_process_that_ends_compiles_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog, compiler = Backlog(), Compiler()
    compiler.go.set()
    monkeypatch.setattr(compiling, "main_thread", lambda: Thread())  # which does not live
    backlog.miss("a", "kernel a", compiler.of("a"))
    assert backlog.wait(LONG)
    assert compiler.made == []


def test_who_must_have_a_kernel_says_so_for_itself_alone() -> None:
    seen: list[bool] = []
    with at_once():
        assert waits()
        beside = Thread(target=lambda: seen.append(waits()))
        beside.start()
        beside.join()
    assert (seen, waits()) == ([False], False)


def test_plain_torch_serves_until_the_kernel_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen from an operation: the same result, by one and then the other."""
    backlog, compiler = Backlog(), Compiler()
    kernel, launched = rows.gated, 0

    def gated(gate_up: torch.Tensor, gate: rows.Gate = "silu") -> torch.Tensor:
        nonlocal launched
        if "gated" not in compiler.made:
            raise backlog.miss("gated", "gated", compiler.of("gated"))
        launched += 1
        return kernel(gate_up, gate)

    assert gpu.runs(torch.device("cpu"))
    monkeypatch.setattr(rows, "gated", gated)
    x = torch.randn(3, 16)
    expected = reference.silu_mul(x)
    assert torch.equal(gpu.silu_mul(x), expected)
    assert launched == 0
    compiler.go.set()
    assert backlog.wait(LONG)
    torch.testing.assert_close(gpu.silu_mul(x), expected)
    assert launched == 1


def test_a_norm_that_found_no_kernel_has_written_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> torch.Tensor:
        raise NotCompiled("rms_norm")

    x, norm = torch.randn(3, 16), Norm(torch.rand(16), 1e-6)
    onto = torch.randn(3, 16)
    expected = reference.rms_norm(x.clone(), norm, onto.clone())
    assert gpu.runs(torch.device("cpu"))
    monkeypatch.setattr(rows, "rms_norm", missing)
    assert torch.equal(gpu.rms_norm(x, norm, onto), expected)

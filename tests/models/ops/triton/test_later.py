"""Launches of Triton's kernels that wait for no compiler: with a driver of a GPU that is not there, and a compiler that
makes nothing, late.
"""

from collections.abc import Callable
from contextlib import nullcontext
from threading import Event
from typing import Any

import pytest
import torch
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from unillm.models.ops.compiling import Backlog, NotCompiled, at_once
from unillm.models.ops.triton import later, products, rows, weights
from unillm.models.ops.triton.later import compiled_later

LONG = 30.0  # seconds, against hangs


def _double(x: Any, out: Any, count: Any, TILE: tl.constexpr) -> None:  # noqa: N803 - Triton's way
    offsets = tl.arange(0, TILE)
    tl.store(out + offsets, 2 * tl.load(x + offsets, mask=offsets < count), mask=offsets < count)


class Absent:
    """A driver of a GPU that nothing is sent to."""

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0


class Made:
    """A compiled kernel; `loaded` when its launcher was asked for."""

    def __init__(self, launches: list[str], why: str | None) -> None:
        self.function, self.packed_metadata, self.loaded = None, None, False
        self._launches, self._why = launches, why

    def launch_metadata(self, *_: Any) -> None:
        return None

    @property
    def run(self) -> Callable[..., None]:
        if self._why is not None:
            raise RuntimeError(self._why)
        self.loaded = True
        return lambda *_: self._launches.append("launched")


class Compiler:
    def __init__(self) -> None:
        self.go = Event()
        self.why: str | None = None
        self.launches: list[str] = []
        self.made: list[Made] = []

    def __call__(self, src: Any, target: Any, options: Any) -> Made:
        assert (src.fn.fn, target.arch) == (_double, 90)
        assert self.go.wait(LONG)
        self.made.append(Made(self.launches, self.why))
        return self.made[-1]


@pytest.fixture
def compiler() -> Compiler:
    return Compiler()


@pytest.fixture
def backlog(monkeypatch: pytest.MonkeyPatch) -> Backlog:
    ours = Backlog()
    monkeypatch.setattr(later, "backlog", lambda: ours)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    return ours


@pytest.fixture
def kernel(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(driver, "_active", Absent())
    made = compiled_later(JITFunction(_double))
    _ = made.device_caches[0]
    made.compile = compiler
    return made


def launch(kernel: Any, count: int = 8) -> Any:
    x = torch.ones(8)
    return kernel[(1,)](x, torch.empty_like(x), count, TILE=8)


def test_a_launch_without_its_kernel_launches_nothing_and_the_next_ones_do(
    kernel: Any, compiler: Compiler, backlog: Backlog
) -> None:
    for _ in range(2):
        with pytest.raises(NotCompiled, match="_double"):
            launch(kernel)
    assert compiler.launches == []
    compiler.go.set()
    assert backlog.wait(LONG)
    assert [made.loaded for made in compiler.made] == [True]
    launch(kernel)
    assert compiler.launches == ["launched"]
    with pytest.raises(NotCompiled):
        launch(kernel, count=16)  # Triton's next variant
    assert backlog.wait(LONG)
    launch(kernel, count=16)
    assert len(compiler.made) == 2


def _halve(lengths: Any, out: Any, TILE: tl.constexpr) -> None:  # noqa: N803 - Triton's way
    offsets = tl.arange(0, TILE)
    tl.store(out + offsets, tl.load(lengths + offsets) // 2)


def test_what_a_batch_tells_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_active", Absent())
    wanted: set[Any] = set()
    made = compiled_later(JITFunction(_halve))
    made._do_compile = lambda key, *_, **__: wanted.add(key)
    numbers, out = torch.zeros(12, dtype=torch.int32), torch.zeros(12, dtype=torch.int32)
    for place in range(5):
        made[(1,)](numbers[place:], out, TILE=4)
    assert len(wanted) == 1
    made[(1,)](numbers, out[1:], TILE=4)
    assert len(wanted) == 2


def test_a_product_has_one_kernel_for_every_number_of_rows_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not 16 divides it."""
    monkeypatch.setattr(driver, "_active", Absent())
    wanted: set[Any] = set()
    for name in ("many_kernel", "shares_kernel"):
        ours = getattr(products, name)
        made = compiled_later(JITFunction(ours.fn, **ours.kwargs))
        made._do_compile = lambda key, *_, name=name, **__: wanted.add((name, key))
        monkeypatch.setattr(weights, name, made)
    matrix = weights.Matrix.of(torch.zeros(48, 1024, dtype=torch.bfloat16))
    for count in (33, 48, 64):
        x, out = torch.zeros(count, 1024, dtype=torch.bfloat16), torch.zeros(count, 48, dtype=torch.bfloat16)
        weights.multiply(x, matrix, out, None, None)
    assert sorted(name for name, _ in wanted) == ["many_kernel", "shares_kernel"]


def test_a_kernel_that_cannot_be_loaded_is_one_that_cannot_be_compiled(
    kernel: Any, compiler: Compiler, backlog: Backlog
) -> None:
    compiler.why = "out of shared memory"
    compiler.go.set()
    for _ in range(3):
        with pytest.raises(NotCompiled):
            launch(kernel)
        assert backlog.wait(LONG)
    assert (len(compiler.made), compiler.launches) == (1, [])


def test_who_must_have_it_waits(kernel: Any, compiler: Compiler, backlog: Backlog) -> None:
    compiler.go.set()
    with at_once():
        launch(kernel)
    assert (compiler.launches, backlog.missed) == (["launched"], 0)


def test_where_triton_compiles_in_another_way_its_kernels_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = JITFunction(_double)
    monkeypatch.setattr(JITFunction, "_do_compile", lambda *_: None)
    assert compiled_later(plain) is plain


def test_interpreted_kernels_are_there_at_once() -> None:
    assert not isinstance(rows._gate_kernel, JITFunction)

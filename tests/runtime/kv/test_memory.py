"""Memory that is taken as it is used, given back when it is not, and never moves."""

import ctypes
import gc
import mmap
import sys
from pathlib import Path

import pytest
import torch

from unillm.runtime.errors import NotEnoughMemory
from unillm.runtime.kv import memory
from unillm.runtime.kv.memory import MappedRegion, WholeRegion, WindowsRegion, reserve

CPU = torch.device("cpu")
MEGABYTE = 1 << 20


def resident() -> int:
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("this system does not say how much memory is resident")
    return int(status.read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(sys.platform == "win32", reason="its regions are the other kind")
def test_a_region_takes_memory_only_where_it_is_written_and_gives_it_back() -> None:
    region = reserve(8 << 30, CPU)
    before, address = resident(), region.bytes.data_ptr()
    region.commit(0, 64 * MEGABYTE)
    region.bytes[: 64 * MEGABYTE] = 7
    assert resident() - before > 60 * MEGABYTE
    region.give_back(32 * MEGABYTE, 64 * MEGABYTE)
    assert resident() - before < 40 * MEGABYTE
    assert region.bytes.data_ptr() == address
    assert region.bytes[: 32 * MEGABYTE].eq(7).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked for large pages")
def test_a_region_comes_in_large_pages_where_the_system_gives_such() -> None:
    import resource

    how = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not how.exists() or "[never]" in how.read_text():
        pytest.skip("this system has no large pages to give")
    region = reserve(256 * MEGABYTE, CPU)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    region.bytes.fill_(7)
    if (faults := resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) >= 256 * MEGABYTE // mmap.PAGESIZE:
        pytest.skip("it has none left now")
    assert faults < 64 * MEGABYTE // mmap.PAGESIZE


@pytest.mark.skipif(sys.platform == "win32", reason="its regions are the other kind")
def test_what_a_neighbour_shares_is_not_given_back() -> None:
    region = MappedRegion(4 * mmap.PAGESIZE)
    region.bytes[:] = 7
    region.give_back(100, 2 * mmap.PAGESIZE + 100)
    assert region.bytes[: mmap.PAGESIZE].eq(7).all()
    assert region.bytes[2 * mmap.PAGESIZE :].eq(7).all()
    region.give_back(100, 200)
    assert region.bytes[:200].eq(7).all()


def test_another_device_has_all_of_it_at_once() -> None:
    region = WholeRegion(100, CPU)
    region.commit(0, 50)
    region.give_back(0, 100)
    assert not region.grows
    assert region.bytes.tolist() == [0] * 100


class FakeKernel32:
    """The calls of Windows over a buffer of this process: what is not committed is noted, not protected."""

    def __init__(self, size: int, *, refuses: int = 0) -> None:
        self.buffer = ctypes.create_string_buffer(size)
        self.base = ctypes.addressof(self.buffer)
        self.calls: list[tuple[str, int, int, int]] = []
        self.refuses = refuses

    def VirtualAlloc(  # noqa: N802 - its name
        self, address: int | None, size: int, kind: int, protection: int
    ) -> int | None:
        assert protection == memory.READ_WRITE
        at = self.base if address is None else address
        self.calls.append(("alloc", at - self.base, size, kind))
        return None if kind == self.refuses else at

    def VirtualFree(self, address: int, size: int, kind: int) -> int:  # noqa: N802 - its name
        self.calls.append(("free", address - self.base, size, kind))
        return 1


def test_windows_reserves_once_commits_in_parts_and_frees_with_the_last_tensor() -> None:
    page = mmap.PAGESIZE
    system = FakeKernel32(8 * page)
    region = WindowsRegion(8 * page, system)
    region.commit(0, 2 * page)
    region.commit(2 * page - 64, 4 * page)
    region.give_back(2 * page - 64, 4 * page)
    assert system.calls == [
        ("alloc", 0, 8 * page, memory.RESERVE),
        ("alloc", 0, 2 * page, memory.COMMIT),
        ("alloc", 2 * page - 64, 2 * page + 64, memory.COMMIT),
        ("free", 2 * page, 2 * page, memory.DECOMMIT),
    ]
    keys = region.bytes[page:].view(torch.float32)
    keys[0] = 5
    del region
    gc.collect()
    assert len(system.calls) == 4
    assert keys[0] == 5
    del keys
    gc.collect()
    assert system.calls[-1] == ("free", 0, 0, memory.RELEASE)


@pytest.mark.parametrize("refuses", [memory.RESERVE, memory.COMMIT])
def test_memory_that_windows_has_not_got_is_an_error(refuses: int) -> None:
    with pytest.raises(NotEnoughMemory):
        WindowsRegion(4096, FakeKernel32(4096, refuses=refuses)).commit(0, 4096)

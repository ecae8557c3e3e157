"""Memory of a GPU behind addresses that stay: which units come and go, and what the driver is told of it."""

import ctypes
import gc
import logging
import struct
from typing import Any

import pytest
import torch
from torch import Tensor

from unillm.runtime.errors import NotEnoughMemory
from unillm.runtime.kv import device_memory, memory
from unillm.runtime.kv.cuda_driver import CudaDriver, driver_of
from unillm.runtime.kv.device_memory import OUT_OF_MEMORY, Addresses, DeviceRegion, DriverRefused

UNIT = 64


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "UNIT", UNIT - 3)


class FakeDriver:
    """Memory of this process; what is not mapped is noted, not protected. It has room for `most` units."""

    grain = 16

    def __init__(self, most: int = 100) -> None:
        self.most, self.spared = most, 0
        self.mapped: set[int] = set()
        self.freed = False

    def reserve(self, size: int) -> int:
        assert size % self.grain == 0
        self._memory = ctypes.create_string_buffer(b"\xff" * size, size)
        return ctypes.addressof(self._memory)

    def free(self, address: int, size: int) -> None:
        assert not self.mapped
        self.freed = True

    def map(self, address: int, size: int) -> None:
        assert size == UNIT
        assert address not in self.mapped
        if len(self.mapped) >= self.most:
            raise DriverRefused("cuMemCreate", OUT_OF_MEMORY)
        self.mapped.add(address)

    def unmap(self, address: int, size: int) -> None:
        self.mapped.remove(address)
        ctypes.memset(address, 0xEE, size)

    def spare(self) -> None:
        self.spared += 1


def tensor_over(addresses: Addresses) -> Tensor:
    there = (ctypes.c_uint8 * addresses.size).from_address(addresses.base)
    there.kept = addresses  # type: ignore[attr-defined]
    return torch.frombuffer(there, dtype=torch.uint8)


def region_of(units: int, driver: FakeDriver) -> DeviceRegion:
    return DeviceRegion(units * UNIT, driver, tensor_over)


def test_memory_comes_with_the_first_who_needs_a_unit_and_goes_with_the_last() -> None:
    driver = FakeDriver()
    region = region_of(8, driver)
    address = region.bytes.data_ptr()
    region.commit(0, 2 * UNIT + 10)
    assert len(driver.mapped) == 3
    region.bytes[: 3 * UNIT] = 7
    region.commit(2 * UNIT + 10, 4 * UNIT)  # beside the one before, in the same unit
    assert len(driver.mapped) == 4
    assert region.bytes[: 3 * UNIT].eq(7).all()
    assert region.bytes[3 * UNIT : 4 * UNIT].eq(0).all()
    region.give_back(0, 2 * UNIT + 10)
    assert driver.mapped == {address + unit * UNIT for unit in (0, 2, 3)}  # the first stays
    region.give_back(2 * UNIT + 10, 4 * UNIT)
    assert driver.mapped == {address}
    region.commit(UNIT, 2 * UNIT)
    assert region.bytes[UNIT : 2 * UNIT].eq(0).all()
    assert region.bytes.data_ptr() == address


def test_what_cannot_be_had_is_an_error_and_nothing_of_it_stays() -> None:
    driver = FakeDriver(most=3)
    region = region_of(8, driver)
    with pytest.raises(NotEnoughMemory, match="the cache to grow by"):
        region.commit(UNIT, 6 * UNIT)
    assert (len(driver.mapped), driver.spared) == (1, 1)
    region.commit(UNIT, 3 * UNIT)
    assert len(driver.mapped) == 3


def test_memory_goes_with_the_last_tensor_over_it() -> None:
    driver = FakeDriver()
    region = region_of(4, driver)
    region.commit(0, 3 * UNIT)
    keys = region.bytes[UNIT:].view(torch.float32)
    del region
    gc.collect()
    assert len(driver.mapped) == 3
    del keys
    gc.collect()
    assert (driver.mapped, driver.freed) == (set(), True)


class FakeLibrary:
    """libcuda as far as it is called: keeps what it was asked for, and fails where `broken` says."""

    def __init__(self, broken: str = "", code: int = OUT_OF_MEMORY, *, index: int = 3) -> None:
        self.broken, self.code, self.index = broken, code, index
        self.calls: list[str] = []
        self.contexts = 0
        self.access: list[tuple[int, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*given: Any) -> int:
            self.calls.append(name)
            if name == self.broken:
                return self.code
            getattr(self, f"_{name}", lambda *_: None)(*given)
            return 0

        return call

    def _cuCtxPushCurrent_v2(self, _context: Any) -> None:  # noqa: N802 - its name
        self.contexts += 1

    def _cuCtxPopCurrent_v2(self, _context: Any) -> None:  # noqa: N802 - its name
        self.contexts -= 1

    def _cuMemGetAllocationGranularity(self, grain: Any, properties: Any, _: Any) -> None:  # noqa: N802 - its name
        assert bytes(properties._obj) == struct.pack("iiiiQQ", 1, 0, 1, self.index, 0, 0)  # as the C structure has it
        grain._obj.value = 2 << 20

    def _cuMemAddressReserve(self, address: Any, size: Any, *_: Any) -> None:  # noqa: N802 - its name
        address._obj.value = 1 << 40

    def _cuMemCreate(self, handle: Any, size: Any, *_: Any) -> None:  # noqa: N802 - its name
        handle._obj.value = 77

    def _cuMemMap(self, address: Any, size: Any, offset: Any, handle: Any, flags: Any) -> None:  # noqa: N802
        assert (handle.value, offset.value, flags.value) == (77, 0, 0)

    def _cuMemSetAccess(self, address: Any, size: Any, access: Any, count: Any) -> None:  # noqa: N802 - its name
        assert count.value == 1
        place = access._obj.place
        self.access.append((place.kind, place.number, access._obj.flags))


def driver_over(library: FakeLibrary, waits: list[str]) -> CudaDriver:
    return CudaDriver(library, 3, lambda: waits.append("waited"), lambda: None)


def test_the_driver_is_asked_in_the_context_of_the_gpu_and_for_both_ways_of_access() -> None:
    library, waits = FakeLibrary(), list[str]()
    driver = driver_over(library, waits)
    address = driver.reserve(driver.grain)
    assert (driver.grain, address) == (2 << 20, 1 << 40)
    library.calls.clear()
    driver.map(address, driver.grain)
    steps = ["cuMemCreate", "cuMemMap", "cuMemRelease", "cuMemSetAccess"]
    assert library.calls == ["cuCtxPushCurrent_v2", *steps, "cuCtxPopCurrent_v2"]
    assert library.access == [(1, 3, 3)]
    assert not waits
    driver.unmap(address, driver.grain)
    assert waits == ["waited"]
    assert library.contexts == 0


@pytest.mark.parametrize("broken", ["cuMemCreate", "cuMemMap", "cuMemSetAccess"])
def test_a_call_that_is_refused_leaves_nothing_behind(broken: str) -> None:
    library = FakeLibrary(broken)
    driver = driver_over(library, [])
    with pytest.raises(DriverRefused, match=f"{broken} returned 2"):
        driver.map(1 << 40, driver.grain)
    assert library.contexts == 0
    assert library.calls.count("cuMemRelease") == (broken != "cuMemCreate")
    assert library.calls.count("cuMemUnmap") == (broken == "cuMemSetAccess")


def test_a_gpu_that_maps_no_memory_gets_its_cache_at_once_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeLibrary("cuMemMap", 801, index=1))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    driver_of.cache_clear()
    device = torch.device("cuda:1")
    try:
        with caplog.at_level(logging.WARNING):
            assert not memory.grows(device)
            assert not memory.grows(device)
    finally:
        driver_of.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [
        "memory of cuda:1 cannot be had bit by bit, the cache takes all of its own at once: cuMemMap returned 801"
    ]
    assert memory.grows(torch.device("cpu"))
    assert not memory.grows(torch.device("mps"))

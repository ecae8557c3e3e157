"""The virtual memory of CUDA's driver, through the library that torch has loaded anyway."""

import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import Any, Final

import torch

from .device_memory import Driver, DriverRefused

_LOG: Final = logging.getLogger(__name__)
_ON_DEVICE: Final = 1  # CU_MEM_ALLOCATION_TYPE_PINNED, and CU_MEM_LOCATION_TYPE_DEVICE
_READ_WRITE: Final = 3  # CU_MEM_ACCESS_FLAGS_PROT_READWRITE


class _Place(ctypes.Structure):
    """`CUmemLocation`."""

    _fields_ = (("kind", c_int), ("number", c_int))


class _Properties(ctypes.Structure):
    """`CUmemAllocationProp`."""

    _fields_ = (
        ("kind", c_int),
        ("handles", c_int),
        ("place", _Place),
        ("of_windows", c_void_p),
        ("flags", c_uint64),
    )


class _Access(ctypes.Structure):
    """`CUmemAccessDesc`."""

    _fields_ = (("place", _Place), ("flags", c_int))


class CudaDriver:
    """The GPU number `index`, by the functions of `library`: libcuda. `wait` is until all that it was asked for is
    done, `spare` has torch part with what it keeps for later.
    """

    def __init__(self, library: Any, index: int, wait: Callable[[], None], spare: Callable[[], None]) -> None:
        self._library, self._wait, self.spare = library, wait, spare
        place = _Place(_ON_DEVICE, index)
        self._properties = _Properties(kind=_ON_DEVICE, place=place)
        self._access = _Access(place, _READ_WRITE)
        device, context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(device), c_int(index))
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._context = context
        grain = c_size_t()
        with self._current():
            self._call("cuMemGetAllocationGranularity", byref(grain), byref(self._properties), c_int(0))
        self.grain = grain.value

    def reserve(self, size: int) -> int:
        address = c_uint64()
        with self._current():
            self._call("cuMemAddressReserve", byref(address), c_size_t(size), c_size_t(0), c_uint64(0), c_uint64(0))
        return address.value

    def free(self, address: int, size: int) -> None:
        with self._current():
            self._call("cuMemAddressFree", c_uint64(address), c_size_t(size))

    def map(self, address: int, size: int) -> None:
        handle, at, count = c_uint64(), c_uint64(address), c_size_t(size)
        with self._current():
            self._call("cuMemCreate", byref(handle), count, byref(self._properties), c_uint64(0))
            try:
                self._call("cuMemMap", at, count, c_size_t(0), handle, c_uint64(0))
            finally:
                self._call("cuMemRelease", handle)  # what is mapped stays until it is not
            try:
                self._call("cuMemSetAccess", at, count, byref(self._access), c_size_t(1))
            except DriverRefused:
                self._call("cuMemUnmap", at, count)
                raise

    def unmap(self, address: int, size: int) -> None:
        self._wait()  # the driver would not
        with self._current():
            self._call("cuMemUnmap", c_uint64(address), c_size_t(size))

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Torch's own context, whichever thread this is; its choice of a GPU stays what it was."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def _call(self, name: str, *given: Any) -> None:
        code = getattr(self._library, name)(*given)
        if code:
            raise DriverRefused(name, code)


@cache
def driver_of(device: torch.device) -> Driver | None:
    """The driver of a CUDA device, tried out; None where it maps no memory, for which the log has the reason."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.zeros(1, device=device)  # which makes the context
    try:
        driver = CudaDriver(ctypes.CDLL(name), index, lambda: torch.cuda.synchronize(device), torch.cuda.empty_cache)
        address = driver.reserve(driver.grain)
        driver.map(address, driver.grain)
        driver.unmap(address, driver.grain)
        driver.free(address, driver.grain)
    except (OSError, AttributeError, DriverRefused) as error:
        _LOG.warning("memory of %s cannot be had bit by bit, the cache takes all of its own at once: %s", device, error)
        return None
    return driver

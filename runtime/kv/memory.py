"""Address space for the largest pool there may be, of which memory is taken only for what is used.

The addresses never move, so that steps that were recorded over them stay valid while a pool grows and shrinks. On a CPU
a region is reserved once; POSIX backs it with memory as it is first written, Windows as it is committed, and both take
back what is given back. On an NVIDIA GPU the driver does the same (`device_memory.py`). Plain torch can reserve nothing
on other devices, and a second allocation would lie elsewhere: there the whole region is allocated at once, and what is
committed or given back changes nothing.

Knows bytes, and neither pages nor budgets.
"""

import ctypes
import mmap
import sys
from contextlib import suppress
from typing import Final, Protocol
from weakref import finalize

import torch
from torch import Tensor

from ..errors import NotEnoughMemory
from .cuda_driver import driver_of
from .device_memory import DeviceRegion

RESERVE: Final = 0x2000
COMMIT: Final = 0x1000
DECOMMIT: Final = 0x4000
RELEASE: Final = 0x8000
READ_WRITE: Final = 0x04


class Region(Protocol):
    """`bytes` [size] uint8. Only what is between a `commit` and a `give_back` may be touched."""

    @property
    def bytes(self) -> Tensor: ...
    @property
    def grows(self) -> bool:
        """Whether memory that is not committed costs nothing."""
        ...

    def commit(self, start: int, stop: int) -> None: ...
    def give_back(self, start: int, stop: int) -> None:
        """What is written there is lost. Memory that the range only touches stays: it may be a neighbour's too."""
        ...


class Kernel32(Protocol):
    """The two calls of Windows that this file makes."""

    def VirtualAlloc(  # noqa: N802 - its name
        self, address: int | None, size: int, kind: int, protection: int
    ) -> int | None: ...
    def VirtualFree(self, address: int, size: int, kind: int) -> int: ...  # noqa: N802 - its name


def reserve(size: int, device: torch.device) -> Region:
    """A region of `size` bytes on `device`. Raises `NotEnoughMemory`."""
    if device.type == "cuda" and (driver := driver_of(device)) is not None:
        return DeviceRegion(size, driver, lambda addresses: torch.as_tensor(addresses, device=device))
    if device.type != "cpu":
        return WholeRegion(size, device)
    if sys.platform == "win32":
        return WindowsRegion(size, _kernel32())
    return MappedRegion(size)


def grows(device: torch.device) -> bool:
    """Whether a region there takes memory bit by bit."""
    return device.type == "cpu" or (device.type == "cuda" and driver_of(device) is not None)


class WholeRegion:
    """All of it allocated at once, wherever torch can."""

    grows = False

    def __init__(self, size: int, device: torch.device) -> None:
        self.bytes = torch.zeros(size, dtype=torch.uint8, device=device)

    def commit(self, start: int, stop: int) -> None:
        """Nothing: it is there."""

    def give_back(self, start: int, stop: int) -> None:
        """Nothing: it stays until the region goes."""


class MappedRegion:
    """An anonymous private map, not counted against what the system may promise where that can be said."""

    grows = True

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _no_reserve()
        try:
            self._map = mmap.mmap(-1, max(size, 1), flags=flags)
        except OSError as error:
            raise NotEnoughMemory(size, 0, f"reserving addresses ({error.strerror})") from error
        if _LARGE_PAGES is not None:
            with suppress(OSError):  # a kernel without them says so
                self._map.madvise(_LARGE_PAGES)
        self.bytes = torch.frombuffer(self._map, dtype=torch.uint8)

    def commit(self, start: int, stop: int) -> None:
        """Nothing: the first write does it."""

    def give_back(self, start: int, stop: int) -> None:
        first, last = _inside(start, stop, mmap.PAGESIZE)
        if first < last:
            self._map.madvise(_GIVE_BACK, first, last - first)


class WindowsRegion:
    """`VirtualAlloc`, reserved whole and committed in parts."""

    grows = True

    def __init__(self, size: int, kernel32: Kernel32) -> None:
        base = kernel32.VirtualAlloc(None, max(size, 1), RESERVE, READ_WRITE)
        if not base:
            raise NotEnoughMemory(size, 0, "reserving addresses")
        self._base, self._kernel32 = base, kernel32
        memory = (ctypes.c_uint8 * max(size, 1)).from_address(base)
        finalize(memory, kernel32.VirtualFree, base, 0, RELEASE)  # when the last tensor over it has gone
        self.bytes = torch.frombuffer(memory, dtype=torch.uint8)

    def commit(self, start: int, stop: int) -> None:
        """Committing twice is harmless, so that neighbours may share what lies on their border."""
        if not self._kernel32.VirtualAlloc(self._base + start, stop - start, COMMIT, READ_WRITE):
            raise NotEnoughMemory(stop - start, 0, "the cache to grow by")

    def give_back(self, start: int, stop: int) -> None:
        first, last = _inside(start, stop, mmap.PAGESIZE)
        if first < last:
            self._kernel32.VirtualFree(self._base + first, last - first, DECOMMIT)


def _inside(start: int, stop: int, unit: int) -> tuple[int, int]:
    """The whole units within a range."""
    return -(-start // unit) * unit, stop // unit * unit


def _no_reserve() -> int:
    """Python names this flag only since 3.13; Linux has had one number for it on all but a few machines."""
    return int(getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0))


def _give_back_advice() -> int:
    """What the system takes back at once; macOS wants to be told that it may."""
    return int(getattr(mmap, "MADV_FREE" if sys.platform == "darwin" else "MADV_DONTNEED", 0))


def _kernel32() -> Kernel32:
    library = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    library.VirtualAlloc.restype = ctypes.c_void_p
    library.VirtualAlloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint32)
    library.VirtualFree.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32)
    typed: Kernel32 = library
    return typed


_GIVE_BACK: Final = _give_back_advice()
# One fault for 2 MiB, not for 4 KiB: a prompt writes some 50 MiB into pages that nobody has touched.
_LARGE_PAGES: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)

"""How much memory a model may take on this machine, and whether one fits: measured without torch, when asked."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .amounts import bytes_text

_HOST_SHARE = 0.75
_GPU_SHARE = 0.9
_WORKING_ROOM = 512 * 10**6
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Room:
    """`size` bytes of `where` are for a model's weights and the work on them."""

    size: int
    where: str

    def fits(self, weights: int) -> bool:
        """Whether weights of that many bytes leave room for the cache and for intermediate results."""
        return weights * 1.1 + _WORKING_ROOM <= self.size

    def __str__(self) -> str:
        return f"the {bytes_text(self.size)} that {self.where} has for a model"


def room_for_a_model(told: int | None = None) -> Room:
    """What `told` says, else the largest GPU, else the host."""
    if told is not None:
        return Room(told, "this machine")
    if gpu := _largest_gpu():
        return Room(int(gpu * _GPU_SHARE), "the GPU")
    return Room(int(_host() * _HOST_SHARE), "this machine")


def _host() -> int:
    """Physical memory, or less where a container limits it."""
    return min([_physical(), *(limit for path in _CGROUP_LIMITS if (limit := _limit(path)) < _UNLIMITED)])


def _physical() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _physical_on_windows()


def _physical_on_windows() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "own", "own_free", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - the attribute exists on Windows only
    return int(status.total) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else _UNLIMITED


def _limit(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return _UNLIMITED


def _largest_gpu() -> int | None:
    """What the driver's own tool says, for torch would take seconds to ask."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return max((int(line) << 20 for line in told.split() if line.isdigit()), default=None)

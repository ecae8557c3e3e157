"""How much memory this machine has, has left, and may give to a model: measured without torch, when asked.

All of the program asks here; what a GPU has left is for torch to say.
"""

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
_UNKNOWN = 4 << 30  # what a machine is taken to have left that does not say: little enough for any


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
    return Room(int(total_memory() * _HOST_SHARE), "this machine")


def total_memory() -> int:
    """Physical memory, or less where a container limits it."""
    return min(_physical(), group_limit() or _UNLIMITED)


def available_memory() -> int:
    """Bytes that could still be used; files that are mapped count as usable."""
    return min(_machine_available(), _group_available())


def group_limit() -> int | None:
    """What the container may have, None where nothing limits it."""
    limits = [limit for path in _CGROUP_LIMITS if (limit := _number(path)) is not None and limit < _UNLIMITED]
    return min(limits, default=None)


def swap_memory() -> tuple[int, int]:
    """Swap space: the bytes used and the whole."""
    said = _meminfo()
    total = said.get("SwapTotal", 0)
    return total - said.get("SwapFree", total), total


def _machine_available() -> int:
    if said := _meminfo().get("MemAvailable"):
        return said
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return _physical() // 2
    return _UNKNOWN


def _meminfo() -> dict[str, int]:
    lines = (_read(Path("/proc/meminfo")) or "").splitlines()
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {word[0].rstrip(":"): int(word[1]) * 1024 for word in words}


def _group_available() -> int:
    """What a container may still take, its reclaimable file pages included."""
    limit, used = _number(Path("/sys/fs/cgroup/memory.max")), _number(Path("/sys/fs/cgroup/memory.current"))
    if limit is None or used is None:
        return _UNLIMITED
    stat = dict(line.split() for line in (_read(Path("/sys/fs/cgroup/memory.stat")) or "").splitlines())
    return limit - used + int(stat.get("file", 0)) - int(stat.get("shmem", 0))


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


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


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

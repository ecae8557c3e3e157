"""Which device computes, in what dtype, and how much memory it has left."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from ..registry import memory
from .errors import DeviceNotFound, InvalidParameter

DTYPES: Final = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "fp16": torch.float16,
    "float16": torch.float16,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
}
DTYPE_NAMES: Final = ("auto", "fp32", "fp16", "bf16")
KV_DTYPES: Final = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
}
KV_DTYPE_NAMES: Final = ("auto", *KV_DTYPES)


def find_device(name: str = "auto") -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, `mps`, or the best there is for `auto`. Raises `DeviceNotFound`."""
    present = devices()
    wanted = {"auto": present[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in present:
        raise DeviceNotFound(name, present)
    return torch.device(wanted)


def devices() -> list[str]:
    """The devices of this machine, the best first, by the names that `find_device` takes."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_dtype(name: str, stored: torch.dtype | None, device: torch.device) -> torch.dtype:
    """What activations are computed in. `stored` is the dtype of the weights, None where they are packed.

    `auto` on a CPU is the stored one for bf16 and fp32, else fp32; elsewhere a half one, fp16 where that is stored.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise InvalidParameter("dtype", name, f"one of {', '.join(DTYPE_NAMES)}")
    if device.type == "cpu":
        return torch.bfloat16 if stored is torch.bfloat16 else torch.float32
    if stored is torch.float16 or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        return torch.float16
    return torch.bfloat16


def choose_kv_dtype(name: str, fitting: torch.dtype, device: torch.device) -> torch.dtype:
    """What keys and values are kept in; `auto` is `fitting`."""
    if name == "auto":
        return fitting
    if name not in KV_DTYPES:
        raise InvalidParameter("kv_dtype", name, f"one of {', '.join(KV_DTYPE_NAMES)}")
    if name == "fp8" and device.type == "mps":
        raise InvalidParameter("kv_dtype", name, "int8 on mps, which has no 8-bit floats: it takes as much memory")
    return KV_DTYPES[name]


def available_memory(device: torch.device) -> int:
    """Bytes that could still be used on `device`; files that are mapped count as usable, as does what torch keeps for
    later.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return memory.available_memory()


def spare(device: torch.device) -> None:
    """Have torch, and the C library where it can, part with memory that they only keep for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif sys.platform == "linux":
        with suppress(AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def physical_cores() -> int:
    """Cores this process may use, threads of one core counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = {_read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in allowed}
    return max(1, min(len(siblings), _group_cores()))


def use_threads(count: int | None = None) -> int:
    """Let torch compute with `count` threads: the physical cores, unless the user's environment says otherwise."""
    if count is None and "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    torch.set_num_threads(count or physical_cores())
    return torch.get_num_threads()


def _group_cores() -> int:
    """What a container's share of time is worth in cores; no limit reads as a very large number."""
    match (_read("/sys/fs/cgroup/cpu.max") or "").split():
        case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
            return -(-int(quota) // int(period))
    return 1 << 20


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None

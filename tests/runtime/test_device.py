"""Devices by name, dtypes by what is stored, threads and memory by what the machine says."""

import os
import platform
from pathlib import Path

import pytest
import torch

from unillm.registry import memory
from unillm.runtime import device
from unillm.runtime.device import (
    available_memory,
    choose_dtype,
    choose_kv_dtype,
    find_device,
    physical_cores,
    spare,
    use_threads,
)
from unillm.runtime.errors import DeviceNotFound, InvalidParameter

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")


def test_a_device_that_is_not_here_is_refused_with_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "devices", lambda: ["cpu"])
    for name in ("cuda", "cuda:0", "mps", "tpu", "", "cpu:1"):
        with pytest.raises(DeviceNotFound, match=f"no device '{name}' here; there is cpu"):
            find_device(name)


def test_auto_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, best in ((["cpu"], "cpu"), (["mps", "cpu"], "mps"), (["cuda:0", "cuda:1", "cpu"], "cuda:0")):
        monkeypatch.setattr(device, "devices", lambda found=present: found)
        assert find_device("auto") == torch.device(best)


def test_a_cuda_device_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert find_device("cuda") == torch.device("cuda:0")
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceNotFound, match="there is cuda:0, cuda:1, cpu"):
        find_device("cuda:2")


def test_this_machine_has_a_cpu() -> None:
    assert find_device("cpu") == CPU
    assert "cpu" in device.devices()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (None, torch.float32),
    ],
)
def test_on_a_cpu_auto_is_the_stored_dtype_but_never_fp16(stored: torch.dtype | None, expected: torch.dtype) -> None:
    assert choose_dtype("auto", stored, CPU) is expected


@pytest.mark.parametrize("place", [CUDA, MPS])
def test_elsewhere_auto_is_a_half_one(place: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for stored, expected in (
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),
        (torch.float16, torch.float16),
        (None, torch.bfloat16),
    ):
        assert choose_dtype("auto", stored, place) is expected


def test_a_card_without_bf16_gets_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_dtype("auto", torch.bfloat16, CUDA) is torch.float16


def test_a_dtype_by_name_is_taken_at_its_word() -> None:
    assert choose_dtype("fp16", torch.float32, CPU) is torch.float16
    assert choose_dtype("float32", torch.bfloat16, CUDA) is torch.float32
    with pytest.raises(InvalidParameter, match=r"dtype is 'int8'; it must be one of auto, fp32, fp16, bf16"):
        choose_dtype("int8", None, CPU)


def test_pages_are_of_the_dtype_by_name_where_the_device_has_it() -> None:
    assert choose_kv_dtype("auto", torch.bfloat16, CUDA) is torch.bfloat16
    assert choose_kv_dtype("fp8", torch.bfloat16, CUDA) is torch.float8_e4m3fn
    with pytest.raises(InvalidParameter, match=r"'fp8'; it must be int8 on mps, which has no 8-bit floats"):
        choose_kv_dtype("fp8", torch.float16, MPS)
    with pytest.raises(InvalidParameter, match=r"'int4'; it must be one of auto, fp32, fp16, bf16, int8, fp8"):
        choose_kv_dtype("int4", torch.float16, CUDA)


def test_threads_are_the_cores_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert use_threads() == physical_cores() >= 1
        assert use_threads(1) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert use_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_cores_are_counted_once_and_within_the_containers_share(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 4},{cpu % 4 + 4}"
        for cpu in range(8)
    }
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "_read", files.get)
    assert physical_cores() == 4
    files["/sys/fs/cgroup/cpu.max"] = "250000 100000"
    assert physical_cores() == 3
    files["/sys/fs/cgroup/cpu.max"] = "max 100000"
    assert physical_cores() == 4


def test_memory_is_what_the_machine_and_its_container_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_memory(CPU) > 0
    files = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 1000 kB\n"}
    monkeypatch.setattr(memory, "_read", lambda path: files.get(str(path)))
    assert available_memory(CPU) == 1000 * 1024
    files["/sys/fs/cgroup/memory.max"] = "700000"
    files["/sys/fs/cgroup/memory.current"] = "500000"
    files["/sys/fs/cgroup/memory.stat"] = "anon 1\nfile 300000\nshmem 100000\n"
    assert available_memory(CPU) == 400_000
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert available_memory(CPU) == 1000 * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing, or cannot be told")
def test_what_the_c_library_keeps_for_later_goes() -> None:
    gone = [torch.ones(1 << 14) for _ in range(1000)]  # 64 MB of pieces that it takes from one heap
    last = torch.ones(1 << 14)  # above them: the heap cannot shrink
    gone.clear()
    held = resident()
    spare(CPU)
    assert resident() < held - (40 << 20)
    assert last.sum() == len(last)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

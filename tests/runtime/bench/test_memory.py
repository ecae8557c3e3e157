"""The most memory this process has held is what the system says."""

import subprocess
import sys

from unillm.runtime.bench.memory import peak_device_memory, peak_memory

BALLAST = "x = bytearray({size}); del x; from unillm.runtime.bench.memory import peak_memory; print(peak_memory())"


def peak_of_a_child(size: int) -> int:
    ran = subprocess.run([sys.executable, "-c", BALLAST.format(size=size)], capture_output=True, text=True, check=True)
    return int(ran.stdout)


def test_what_was_held_once_counts_and_what_the_parent_holds_does_not() -> None:
    ballast = bytearray(200_000_000)
    small, large = peak_of_a_child(1), peak_of_a_child(100_000_000)
    assert 90_000_000 < large - small < 110_000_000
    assert small < len(ballast)


def test_this_process_has_held_something() -> None:
    peak = peak_memory()
    assert peak is None or peak > 5_000_000


def test_a_device_that_was_not_used_has_held_nothing() -> None:
    import torch

    if torch.cuda.is_available():
        held = torch.zeros(1_000_000, device="cuda")
        assert (peak_device_memory() or 0) >= held.nbytes
    else:
        assert peak_device_memory() is None

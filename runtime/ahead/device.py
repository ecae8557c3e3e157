"""A device that does what it is told in order, by itself, while the host goes on.

Nothing here is waited for but where `wait` says so: a copy that is not asked for this way would hold the host until all
work before it was done.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Work: TypeAlias = Callable[[], Sequence[Tensor]]


class Started(Protocol):
    """Work that a device was told to do."""

    def wait(self) -> list[Tensor]:
        """What it left, on the host, once it is done."""
        ...


class LateDevice(Protocol):
    """Where steps are computed. Its order is that of the calls."""

    def send(self, numbers: NDArray[np.integer]) -> Tensor:
        """The same there. What becomes of `numbers` afterwards is the caller's."""
        ...

    def start(self, work: Work) -> Started:
        """Have `work` done, which only asks for tensor operations, and keep what it leaves for the host."""
        ...


def late_device(device: torch.device) -> LateDevice | None:
    """`device` as one that computes by itself; None where the host would gain nothing, or would have to wait anyway."""
    return CudaDevice(device) if device.type == "cuda" else None


class CudaDevice:
    """The current stream of a GPU. Copies cross from and to pinned memory, which torch keeps until they are done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def send(self, numbers: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(numbers).pin_memory().to(self._device, non_blocking=True)

    def start(self, work: Work) -> Started:
        copies = [_to_host(left) for left in work()]
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))
        return _Copied(done, copies)


class _Copied:
    def __init__(self, done: torch.cuda.Event, copies: list[Tensor]) -> None:
        self._done, self._copies = done, copies

    def wait(self) -> list[Tensor]:
        self._done.synchronize()
        return self._copies


def _to_host(left: Tensor) -> Tensor:
    return torch.empty(left.shape, dtype=left.dtype, pin_memory=True).copy_(left, non_blocking=True)

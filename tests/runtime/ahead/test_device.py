"""Which devices compute by themselves: nothing of CUDA is touched to know it."""

import pytest
import torch

from unillm.runtime.ahead.device import CudaDevice, late_device


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_where_the_host_would_gain_nothing_steps_do_not_overlap(name: str) -> None:
    assert late_device(torch.device(name)) is None


def test_a_gpu_computes_by_itself() -> None:
    assert isinstance(late_device(torch.device("cuda:0")), CudaDevice)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]

"""What `make gpu-check` compares on a GPU, interpreted: the checks themselves are right, and the numbers, too."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from unillm.tests.gpu.choosing import backend_checks, choosing_checks, scan_checks

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")


@pytest.mark.slow
@pytest.mark.parametrize("check", [partial(choosing_checks, vocabulary=1500), scan_checks])
def test_a_check_finds_nothing(check: Callable[[torch.device], Iterator[tuple[str, float, float]]]) -> None:
    torch.manual_seed(0)
    found = list(check(torch.device("cpu")))
    assert [name for name, difference, allowed in found if not difference <= allowed] == []
    assert len(found) > 1


def test_our_kernels_serve_one_phase_beside_another_backend() -> None:
    torch.manual_seed(0)
    found = list(backend_checks(torch.device("cpu"), torch.float32))  # bf16 has no products here
    assert [name for name, difference, allowed in found if not difference <= allowed] == []
    assert len(found) == 2

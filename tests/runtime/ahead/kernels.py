"""The kernel that draws, beside a stand-in for a device: interpreted, and an operation of torch that a tape sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import torch
from torch import Tensor

from unillm.models.ops import gpu
from unillm.models.ops.operands import Choosing
from unillm.tests.support.interpreting import mended

_PLAIN: Final = gpu.choose


@torch.library.custom_op("unillm_tests::choose", mutates_args=())
def _choose(
    scores: Tensor, temperature: Tensor, top_p: Tensor, min_p: Tensor, top_k: Tensor, seeds: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    chosen, best = torch.zeros(len(scores), dtype=torch.int64), torch.zeros(len(scores))
    _PLAIN(scores, Choosing(temperature, top_p, min_p, top_k, seeds, places), chosen, best)
    return chosen, best


@contextmanager
def drawing_by_noise() -> Iterator[list[int]]:
    """While it holds, every device is taken for one whose kernel draws; what is yielded is how many rows each call of
    the kernel had that was not replayed.
    """
    asked: list[int] = []

    def choose(scores: Tensor, how: Choosing, chosen: Tensor, best: Tensor) -> None:
        asked.append(len(scores))
        found = _choose(scores, how.temperature, how.top_p, how.min_p, how.top_k, how.seeds, how.places)
        chosen.copy_(found[0])
        best.copy_(found[1])

    with mended(), pytest.MonkeyPatch.context() as patching:
        patching.setattr(gpu, "chooses", lambda _: True)
        patching.setattr(gpu, "choose", choose)
        yield asked

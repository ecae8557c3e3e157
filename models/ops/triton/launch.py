"""What every launch asks of its operands: sizes, steps, and how many programs keep a device busy."""

from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import torch
from torch import Tensor

from ...contract import PagedView

_INTERPRETED: Final = 2  # as many programs as that keep an interpreter busy


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one call of attention. `width` is `dim`, or the next power of two."""

    heads: int
    kv_heads: int
    dim: int
    page: int

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads

    @property
    def width(self) -> int:
        return max(16, 1 << (self.dim - 1).bit_length())

    @classmethod
    def of(cls, q: Tensor, view: PagedView) -> Self:
        return cls(q.shape[1], view.keys.shape[2], q.shape[2], view.keys.shape[1])


@dataclass(frozen=True, slots=True)
class Scales:
    """Those of a cache of whole numbers. A kernel is given some tensor even where there are none."""

    there: bool
    tensors: tuple[Tensor, Tensor]
    steps: tuple[int, int]


def scales_of(view: PagedView) -> Scales:
    if view.key_scales is None or view.value_scales is None:
        return Scales(False, (view.keys, view.values), (0, 0))
    page, token, _ = view.key_scales.stride()
    return Scales(True, (view.key_scales, view.value_scales), (page, token))


@cache
def processors(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED
    return torch.cuda.get_device_properties(device).multi_processor_count

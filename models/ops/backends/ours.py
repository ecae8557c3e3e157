"""The backends that are there wherever torch is, and our own kernels."""

from typing import ClassVar

import torch
from torch import Tensor

from ...contract import AttentionSpec, Batch, PagedView
from .. import gpu, reference_attention


class Eager:
    """Every product and every share spelled out, in fp32: what others are compared with."""

    page_grain: ClassVar[int] = 1

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> None:
        return None

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        return reference_attention.attend(q, spec, cache, batch, eager=True)


class Sdpa:
    """Torch's own attention over pages that are gathered; what it has no word for is spelled out."""

    page_grain: ClassVar[int] = 1

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> None:
        return None

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        return reference_attention.attend(q, spec, cache, batch)


class Triton:
    """Our kernels, which read pages where they lie."""

    page_grain: ClassVar[int] = 1

    def refuses(self, spec: AttentionSpec, head_dim: int, pages: torch.dtype, place: torch.device) -> str | None:
        if place.type != "cuda" or not gpu.runs(place):
            return f"its kernels do not run on {place.type}"
        return gpu.misfit(head_dim, pages)

    def attend(self, q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch) -> Tensor:
        return gpu.attend(q, spec, cache, batch)

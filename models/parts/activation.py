"""The curves between two projections, by the names that config.json has for them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import torch.nn.functional as F
from torch import Tensor

Activation: TypeAlias = Callable[[Tensor], Tensor]


def _squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _quick(x: Tensor) -> Tensor:
    return x * (1.702 * x).sigmoid()


_TANH: Final = partial(F.gelu, approximate="tanh")

GELU_BY_TANH: Final = frozenset(("gelu_fast", "gelu_new", "gelu_pytorch_tanh"))
ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "gelu": F.gelu,
    **dict.fromkeys(GELU_BY_TANH, _TANH),
    "quick_gelu": _quick,
    "relu": F.relu,
    "relu2": _squared,
    "silu": F.silu,
    "swish": F.silu,
}

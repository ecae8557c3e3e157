"""What operations take beside tensors: small frozen values."""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from ..contract import Weight

Matrices: TypeAlias = Weight | tuple[Weight, ...]  # of several experts: [experts, out, in], or a matrix each


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """The turn of each token's pairs, fp32 [tokens, pairs]. `interleaved` pairs are neighbours in a head, others lie
    `pairs` apart; numbers of a head beyond 2 * pairs stay as they are.
    """

    cos: Tensor
    sin: Tensor
    interleaved: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A root-mean-square norm over the last dimension."""

    weight: Tensor
    eps: float

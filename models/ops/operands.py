"""What operations take beside tensors: small frozen values; and tensors as kernels read them."""

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
class Choosing:
    """How rows of scores choose a token each, [rows] side by side on the device. Temperature 0 takes the likeliest;
    top_k 0, top_p 1 and min_p 0 leave all. Noise is a function of seed, place and token.
    """

    temperature: Tensor  # fp32 or fp64, as the next two
    top_p: Tensor
    min_p: Tensor
    top_k: Tensor  # whole numbers, as all that follow
    seeds: Tensor
    places: Tensor  # how many tokens there are before the one to be chosen


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A root-mean-square norm over the last dimension."""

    weight: Tensor
    eps: float


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """How a projection's numbers become paces: softplus(number + slowness), bounded; a state decays by `decay` times
    that. All fp32 [columns], or None: 0, and nobody asks.
    """

    slowness: Tensor | None = None
    decay: Tensor | None = None
    shortest: float = 0.0
    longest: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Skip:
    """What goes past a scan: `values` [tokens, columns], each head's times its number of `through` [heads]. In fp32."""

    values: Tensor
    through: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class GatedNorm:
    """A root-mean-square norm over each of `groups` of columns, after its input is gated or before. `weight` is of all
    columns, or of one group for each of them.
    """

    weight: Tensor
    eps: float
    groups: int
    gate_first: bool


def in_rows(x: Tensor) -> Tensor:
    """`x`, or a copy, in which the numbers of the last dimension lie together."""
    return x if x.stride(-1) == 1 else x.contiguous()


def heads_together(x: Tensor) -> Tensor:
    """`x` [tokens, heads, size], or a copy, in which the numbers of a token lie together."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()

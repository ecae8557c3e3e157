"""How fast each pair of a head turns with the position: the plain frequencies, and the ways models stretch them.

Each scaling is data and one function from positions to frequencies. Most give one set for all positions. Dynamic NTK
and LongRoPE depend on how long the sequence is; here a token at position p turns with the frequencies of a sequence of
p + 1 tokens. That is what `transformers` computes when it decodes a sequence step by step from its first token, and it
makes a prompt read whole, in chunks or token by token come out the same, which the sequence's final length would not.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Scaling(Protocol):
    """`factor` multiplies cosines and sines; `frequencies` are [pairs], or [tokens, pairs] if they follow positions."""

    @property
    def factor(self) -> float: ...
    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor: ...


def plain(theta: float, dim: int, device: torch.device) -> Tensor:
    """theta ** (-2i / dim) for each of the dim / 2 pairs."""
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    return 1.0 / theta**exponents


@dataclass(frozen=True, slots=True)
class Unscaled:
    """As trained."""

    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        return plain(theta, dim, positions.device)


@dataclass(frozen=True, slots=True)
class Linear:
    """All frequencies divided by `stretch`."""

    stretch: float
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        return plain(theta, dim, positions.device) / self.stretch


@dataclass(frozen=True, slots=True, eq=False)
class Divided:
    """Frequencies divided pair by pair: GGUF's `rope_freqs.weight`, which is how it states Llama 3's scaling."""

    divisors: Tensor  # [pairs]
    inner: Scaling
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        return self.inner.frequencies(theta, dim, positions) / self.divisors.to(positions.device, torch.float32)


@dataclass(frozen=True, slots=True)
class Dynamic:
    """NTK: past the `trained` length the base grows with the sequence."""

    stretch: float
    trained: int
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        length = (positions[:, None] + 1).clamp(min=self.trained).float()
        base = theta * (self.stretch * length / self.trained - (self.stretch - 1)) ** (dim / (dim - 2))
        exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim
        return 1.0 / base**exponents


@dataclass(frozen=True, slots=True)
class Llama3:
    """Slow pairs are divided by `stretch`, fast ones kept, those between blended."""

    stretch: float
    low: float
    high: float
    trained: int
    factor: float = 1.0

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        fast = plain(theta, dim, positions.device)
        turns = self.trained * fast / (2 * math.pi)
        blend = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 - blend) * fast / self.stretch + blend * fast


@dataclass(frozen=True, slots=True)
class Yarn:
    """Pairs that turn often in the `trained` length are kept, those that hardly turn are divided by `stretch`."""

    stretch: float
    trained: int
    factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        fast = plain(theta, dim, positions.device)
        low, high = self._pair(self.beta_fast, theta, dim), self._pair(self.beta_slow, theta, dim)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        pairs = torch.arange(dim // 2, dtype=torch.float32, device=positions.device)
        stretched = ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
        return fast / self.stretch * stretched + fast * (1 - stretched)

    def _pair(self, turns: float, theta: float, dim: int) -> float:
        """The pair, as a fraction, that makes so many turns within the trained length."""
        return dim * math.log(self.trained / (turns * 2 * math.pi)) / (2 * math.log(theta))


@dataclass(frozen=True, slots=True, eq=False)
class Long:
    """LongRoPE: one set of divisors up to the `trained` length, another beyond it. A GGUF holds them as tensors; until
    these are loaded they are None.
    """

    trained: int
    factor: float
    short: Tensor | None = None  # [pairs]
    long: Tensor | None = None  # [pairs]

    def frequencies(self, theta: float, dim: int, positions: Tensor) -> Tensor:
        assert self.short is not None
        assert self.long is not None
        beyond = positions[:, None] >= self.trained
        divisors = torch.where(beyond, self.long.to(positions.device), self.short.to(positions.device))
        return plain(theta, dim, positions.device) / divisors


def yarn_factor(stretch: float, scale: float = 1.0) -> float:
    """How much longer contexts sharpen attention, by YaRN's formula."""
    return 1.0 if stretch <= 1 else 0.1 * scale * math.log(stretch) + 1.0


def long_factor(stretch: float, trained: int) -> float:
    """The same by LongRoPE's formula."""
    return 1.0 if stretch <= 1 else math.sqrt(1 + math.log(stretch) / math.log(trained))

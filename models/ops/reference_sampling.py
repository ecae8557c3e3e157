"""A token for each row of scores in plain torch, by the kernel's noise: what `triton/sampling.py` computes.

Both draw by Philox (Salmon et al., 2011), whose numbers follow from a key, the request's seed, and a counter, the token
and its place. So a seed means one text, whoever computes; but for near ties, where the last bit of a logarithm decides.
"""

from typing import Final

import torch
from torch import Tensor

from .operands import Choosing

_ROUNDS: Final = 10
_FACTORS: Final = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)
_WORD: Final = 0xFFFFFFFF
_UNIFORM: Final = 4.6566127342e-10  # as triton makes a share of 31 bits
_NEVER: Final = 1e-30  # a share so small, that the heaviest passes it


def choose(scores: Tensor, choosing: Choosing, chosen: Tensor, best: Tensor) -> None:
    """As `gpu.choose`."""
    wide = scores.float()
    largest, likeliest = wide.max(-1)
    heat = choosing.temperature.float()
    distance = (wide - largest[:, None]) / torch.where(heat > 0, heat, 1.0)[:, None]
    stays = _kept(wide, distance.exp(), choosing)
    drawn = (distance + _noise(choosing, scores.shape[1])).masked_fill(~stays, float("-inf")).argmax(-1)
    broken = ~largest.isfinite()
    chosen.copy_(torch.where(heat > 0, drawn, likeliest).masked_fill(broken, 0))
    best.copy_(largest.masked_fill(broken, float("nan")))


def _kept(scores: Tensor, weights: Tensor, choosing: Choosing) -> Tensor:
    """What the filters of each row leave; tokens as likely as the last one that stays, stay too."""
    ordered, order = scores.sort(-1, descending=True)
    heaviest = weights.gather(-1, order)
    columns = scores.shape[1]
    before = torch.searchsorted(-ordered, -ordered)  # how many are likelier
    limit = torch.where(choosing.top_k > 0, choosing.top_k, columns)[:, None]
    among = before < limit
    sums = (heaviest * among).double().cumsum(-1)
    lighter = torch.cat((torch.zeros_like(sums[:, :1]), sums), -1).gather(-1, before)
    share = choosing.top_p.double()[:, None]
    enough = (lighter < (share * sums[:, -1:]).clamp(min=_NEVER)) | (share >= 1)
    stays = among & enough & (heaviest >= choosing.min_p.float()[:, None])
    return torch.empty_like(stays).scatter_(-1, order, stays)


def _noise(choosing: Choosing, columns: int) -> Tensor:
    """Gumbel's, for each token of each row."""
    tokens = torch.arange(columns, device=choosing.seeds.device).expand(len(choosing.seeds), -1)
    words = philox(choosing.seeds[:, None], tokens, choosing.places[:, None].long())
    signed = torch.where(words > _WORD >> 1, _WORD - words, words)  # what is below 0 as 32 bits, as far above
    share = signed.float() * _UNIFORM
    return -torch.where(share < 1e-3, share + 0.5 * share * share, -(1 - share).log()).log()


def philox(seeds: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The first word of Philox 4x32 for a counter of two words, int64 all: whole numbers of 32 bits."""
    zero = torch.zeros_like(seeds * low)
    counter = [(zero + low) & _WORD, (zero + high) & _WORD, zero, zero]
    keys = [seeds & _WORD, (seeds >> 32) & _WORD]
    for _ in range(_ROUNDS):
        first, third = (_product(_FACTORS[i], counter[2 * i]) for i in range(2))
        counter = [
            third[0] ^ counter[1] ^ keys[0],
            third[1],
            first[0] ^ counter[3] ^ keys[1],
            first[1],
        ]
        keys = [(key + step) & _WORD for key, step in zip(keys, _KEY_STEPS, strict=True)]
    return counter[0]


def _product(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of a product of words, by halves: int64 does not hold it."""
    low, high = word & 0xFFFF, word >> 16
    lower, upper = factor * low, factor * high
    total = upper + (lower >> 16)
    return total >> 16, ((total << 16) | (lower & 0xFFFF)) & _WORD

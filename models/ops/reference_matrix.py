"""The scan of recurrent layers whose state is a matrix for each head, in plain torch: Mamba-2, gated delta nets, RWKV 6
and 7.

With each token a state decays, may forget along one direction, and adds a product of a value and a key; a query reads
it. Neighbours of one token each take that step together. Others are computed by blocks of tokens, each in products of
matrices (arXiv 2405.21060, 2412.06464): what a token adds reaches a later one times all decays between, and what is
forgotten depends on what was added before, which is a triangle of equations. Only sums of logarithms at most 0 are
raised to powers, so nothing overflows.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import Batch, StateView
from .reference_attention import runs_of
from .reference_scan import joined

_BLOCK: Final = 64
_NARROW: Final = 16  # of tokens whose numbers of a key decay each at a pace of its own


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What happens to a state [heads, width, size] with each of some tokens.

    state = state * exp(decay) + (state a) b^T + taken v k^T, without the middle where there is no a; read as state q,
    before the token or after. `replaces`: v is first less what k finds in the decayed state, and there is no a.
    All fp32: q, k, a, b [tokens, heads, size], v [tokens, heads, width], decay [tokens, heads, size or 1], at most 0;
    taken [tokens, heads], None: 1. Of q and k there may be fewer, each for several heads side by side, or, `tiled`,
    one for each head and then again.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor
    a: Tensor | None = None
    b: Tensor | None = None
    reads_before: bool = False
    taken: Tensor | None = None
    replaces: bool = False
    tiled: bool = False

    def of(self, tokens: slice) -> "Step":
        a, b = None if self.a is None else self.a[tokens], None if self.b is None else self.b[tokens]
        return Step(self.q[tokens], self.k[tokens], self.v[tokens], self.decay[tokens], a, b, self.reads_before)

    def spelled_out(self) -> "Step":
        """The same of q, k, v, decay, a and b alone, each of all heads."""
        q, k = self._of_all(self.q), self._of_all(self.k)
        v = self.v if self.taken is None else self.v * self.taken[..., None]
        if not self.replaces:
            return Step(q, k, v, self.decay, self.a, self.b, self.reads_before)
        found = k * self.decay.exp()
        return Step(
            q, k, v, self.decay, -found, k if self.taken is None else k * self.taken[..., None], self.reads_before
        )

    def _of_all(self, shared: Tensor) -> Tensor:
        tokens, count, size = shared.shape
        times = self.v.shape[1] // count
        if times == 1:
            return shared
        if self.tiled:
            return shared.repeat(1, times, 1)
        return shared[:, :, None].expand(tokens, count, times, size).flatten(1, 2)


def matrix_scan(step: Step, name: str, cache: StateView, batch: Batch) -> Tensor:
    """What each token reads, [tokens, heads, width], of steps that are spelled out. The state `name` is [heads, width,
    size].
    """
    parts = []
    for sequences, tokens in runs_of(batch.queries):
        state, run = cache.read(name, sequences), step.of(tokens)
        if len(run.q) == len(state):
            out, state = _one_each(run, state)
        else:
            out, state = _scan(run, state)
        cache.write(name, sequences, state)
        parts.append(out)
    return joined(parts)


def _one_each(step: Step, state: Tensor) -> tuple[Tensor, Tensor]:
    after = state * step.decay.exp()[:, :, None] + step.v[..., None] * step.k[:, :, None]
    if step.a is not None and step.b is not None:
        after = after + (state @ step.a[..., None]) * step.b[:, :, None]
    read = state if step.reads_before else after
    return (read @ step.q[..., None])[..., 0], after


def _scan(step: Step, state: Tensor) -> tuple[Tensor, Tensor]:
    """Of one sequence's tokens, whose state is [1, heads, width, size]."""
    height = _BLOCK if step.decay.shape[-1] == 1 else _NARROW
    parts, kept = [], state[0]
    for start in range(0, len(step.q), height):
        out, kept = _block(step.of(slice(start, start + height)), kept)
        parts.append(out)
    return torch.cat(parts), kept[None]


def _block(step: Step, state: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v, decay = (each.transpose(0, 1) for each in (step.q, step.k, step.v, step.decay))  # [heads, tokens, ...]
    after = _between(decay)
    before = F.pad(after[:, :-1], (0, 0, 0, 0, 1, 0))
    read, own = (before, False) if step.reads_before else (after, True)
    summed = decay.cumsum(1)
    faded, fading = (summed - decay if step.reads_before else summed).exp(), after[:, -1].exp()
    out = (q * faded) @ state.mT + _reach(q, k, read, own=own) @ v
    left = state * summed[:, -1:].exp() + v.mT @ (k * fading)
    if step.a is not None and step.b is not None:
        a, b = step.a.transpose(0, 1), step.b.transpose(0, 1)
        known = (a * (summed - decay).exp()) @ state.mT + _reach(a, k, before, own=False) @ v
        whole = torch.eye(a.shape[1], device=a.device) - _reach(a, b, before, own=False)
        forgotten = torch.linalg.solve_triangular(whole, known, upper=False, unitriangular=True)
        out = out + _reach(q, b, read, own=own) @ forgotten
        left = left + forgotten.mT @ (b * fading)
    return out.transpose(0, 1), left


def _between(decay: Tensor) -> Tensor:
    """Sums of what comes after an early token, up to a late one: [heads, late, early, size or 1]. Not differences of
    sums from the beginning, in which small ones would be lost.
    """
    count = decay.shape[1]
    later = torch.ones(count, count, dtype=torch.bool, device=decay.device).tril(-1)
    return decay[:, :, None].expand(-1, -1, count, -1).masked_fill(~later[:, :, None], 0).cumsum(1)


def _reach(late: Tensor, early: Tensor, between: Tensor, *, own: bool) -> Tensor:
    """How much of what each token adds along `early` a later one finds along `late`, or an `own` one: [heads, tokens,
    tokens].
    """
    if between.shape[-1] == 1:
        found = (late @ early.mT) * between[..., 0].exp()
    else:
        found = torch.einsum("hls,hes,hles->hle", late, early, between.exp())
    return found.tril(0 if own else -1)

"""Whether a way to run a class computes what the class does: two short texts, whole, and in steps beside each other.

What leaks between texts, forgets what was before a step, or reads what comes after it, shows in any model, whatever its
weights. The cost is that of some dozen tokens when a model is loaded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ..contract import Batch, CacheSpec, Kept, PagedView, Placement, StateView, contiguous_cache

_LENGTHS: Final = (9, 5)
_STEPS: Final = ((5, 3), (1, 1), (1, 0), (1, 0), (1, 1))  # tokens of each text; some follow their own alone
_CLOSE: Final = 1e-3
_COARSE: Final = 5e-2  # where every layer rounds to 8 or 11 bits


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Two texts, and what is `wanted` of each: scores [tokens, vocabulary]."""

    texts: list[list[int]]
    wanted: list[Tensor]
    place: Placement

    @classmethod
    @torch.inference_mode()
    def of(cls, scores: Callable[[Tensor], Tensor], vocabulary: int, place: Placement) -> "Trial":
        """`scores` computes [1, tokens, vocabulary] of [1, tokens], as the class does by itself."""
        chance = torch.Generator().manual_seed(1)
        texts = [torch.randint(0, vocabulary, (length,), generator=chance).tolist() for length in _LENGTHS]
        return cls(texts, [scores(torch.tensor([ids], device=place.device))[0].float() for ids in texts], place)

    @torch.inference_mode()
    def is_passed(self, spec: CacheSpec, scores: Callable[[Batch], Tensor]) -> bool:
        """Whether `scores` [tokens, vocabulary] of batches over a cache of `spec` are those that are wanted."""
        got = self._in_steps(spec, scores)
        close = _CLOSE if self.place.dtype == torch.float32 else _COARSE
        return all(
            float(torch.linalg.vector_norm(mine - wanted)) <= close * float(torch.linalg.vector_norm(wanted))
            for mine, wanted in zip(got, self.wanted, strict=True)
        )

    def _in_steps(self, spec: CacheSpec, scores: Callable[[Batch], Tensor]) -> list[Tensor]:
        each = [contiguous_cache(spec, max(_LENGTHS), self.place) for _ in self.texts]
        cache = [_both(*layers) for layers in zip(*each, strict=True)]
        done = [0 for _ in self.texts]
        got: list[list[Tensor]] = [[] for _ in self.texts]
        for counts in _STEPS:
            taking = [text for text, count in enumerate(counts) if count]
            fresh = [self.texts[text][done[text] : done[text] + counts[text]] for text in taking]
            some = scores(_batch(taking, fresh, [done[text] for text in taking], cache, self.place))
            for text, piece in zip(taking, torch.split(some.float(), [len(ids) for ids in fresh]), strict=True):
                got[text].append(piece)
                done[text] += len(piece)
        return [torch.cat(pieces) for pieces in got]


def _both(first: Any, second: Any) -> Kept:
    """A layer's cache of one text, `Kept` as that of the other, with the other's below."""
    if isinstance(first, dict):
        return {name: torch.cat((first[name], second[name])) for name in first}
    return torch.cat((first[0], second[0])), torch.cat((first[1], second[1]))


def _batch(
    texts: Sequence[int], fresh: Sequence[list[int]], done: Sequence[int], cache: Sequence[Kept], place: Placement
) -> Batch:
    """The `fresh` tokens of these texts; text t has page t, and row t of states."""

    def whole(numbers: Any, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(numbers, dtype=dtype, device=place.device)

    queries = [len(ids) for ids in fresh]
    contexts = [before + count for before, count in zip(done, queries, strict=True)]
    positions = torch.cat([torch.arange(end - count, end) for end, count in zip(contexts, queries, strict=True)])
    pages = torch.tensor(texts).repeat_interleave(torch.tensor(queries))
    table, slots = whole(texts, torch.int32)[:, None], (pages * max(_LENGTHS) + positions).to(place.device)
    begins = whole([not before for before in done], torch.bool)
    return Batch(
        ids=whole([token for ids in fresh for token in ids]),
        positions=positions.to(place.device),
        rows=torch.arange(sum(queries), device=place.device),
        queries=tuple(queries),
        contexts=tuple(contexts),
        starts=whole([0, *queries]).cumsum(0).int(),
        lengths=whole(contexts, torch.int32),
        cache=[
            StateView(kept, whole(texts), whole(texts), begins)
            if isinstance(kept, dict)
            else PagedView(*kept, table, slots)
            for kept in cache
        ],
    )

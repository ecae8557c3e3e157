"""Decoders whose classes keep what they need themselves: one sequence at a time, in the class's own cache.

Of a sequence our cache keeps its tokens. With these a step is right whatever ran before it: where the class's cache
is not that of the very tokens before the new one, or is not to be trusted, all of them are computed again.
"""

from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor

from ..contract import Batch, CacheSpec, StateLayer, StateTensor, StateView

TOKENS: Final = "tokens"
KEPT_AS: Final = ("past_key_values", "cache_params")


class Alone:
    """How `trunk` is run, for sequences of up to `context` tokens, with its `own` attention. `goes_on`: its own cache
    serves for single steps.
    """

    alone = True

    def __init__(self, trunk: Any, context: int, own: str, *, goes_on: bool) -> None:
        trunk.set_attn_implementation(own)
        again = "" if goes_on else ", each token from the beginning of its text"
        self.note = f"transformers computes it, one sequence at a time{again}"
        self._trunk = trunk
        self._goes_on = goes_on
        self._context = context
        self._cached: list[int] = []
        self._cache: Any = None
        taken = signature(trunk.forward).parameters
        self._kept_as = next((name for name in KEPT_AS if name in taken), None)

    def cache_spec(self) -> CacheSpec:
        return CacheSpec((StateLayer({TOKENS: StateTensor((self._context,), torch.int32)}),))

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states [tokens, hidden]; of a step that nobody wants to know anything of, [tokens, 0]."""
        view, fresh = batch.cache[0], torch.split(batch.ids, list(batch.queries))
        ends = enumerate(zip(fresh, batch.contexts, strict=True))
        whole = [self._note(view, number, ids, end) for number, (ids, end) in ends]
        if not len(batch.rows):
            return torch.empty(len(batch.ids), 0, device=batch.ids.device)
        return torch.cat([self._compute(ids, count) for ids, count in zip(whole, batch.queries, strict=True)])

    def _note(self, view: StateView, number: int, fresh: Tensor, end: int) -> list[int]:
        """All tokens of a sequence, once its new ones are in."""
        tokens = view.read(TOKENS, slice(number, number + 1))
        tokens[0, end - len(fresh) : end] = fresh
        view.write(TOKENS, slice(number, number + 1), tokens)
        return tokens[0, :end].tolist()

    def _compute(self, ids: list[int], count: int) -> Tensor:
        """The hidden states [count, hidden] of the last `count` of `ids`."""
        follows = count == 1 and self._cache is not None and self._cached == ids[:-1]
        fresh = ids[-1:] if follows else ids
        kept = {self._kept_as: self._cache} if follows and self._kept_as else {}
        device = next(self._trunk.parameters()).device
        self._cache = None  # not to be gone on with, should this fail half way
        fed = torch.tensor([fresh], device=device)
        out = self._trunk(input_ids=fed, use_cache=self._goes_on, return_dict=True, **kept)
        if self._goes_on:
            self._cache, self._cached = getattr(out, self._kept_as or "", None), ids
        hidden: Tensor = out.last_hidden_state[0, -count:]
        return hidden

"""Decoders whose classes ask a function for their attention: ours, over our cache, for many sequences in one batch.

`transformers` lets functions for attention and for masks be registered by a name. Under `_SURVEY` a class is asked,
with a few tokens, which layers attend and what each may see; under `_PAGED` it runs. What a layer may see is there a
function of two places in a text, so that even the longest window shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..contract import AttentionSpec, Batch, CacheSpec, PagedLayer
from ..errors import ModelError
from ..ops.cpu.kernels import Kernels

_SURVEY: Final = "unillm_survey"
_PAGED: Final = "unillm_paged"
_STEP: Final = "unillm_step"  # what our function is handed through theirs
_HARMLESS: Final = ("position_ids", "cache_position")
_FAR: Final = 1 << 17  # places beyond any window or chunk that a mask is asked about


class Unfit(ModelError):
    """A class does what our attention does not."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a mask lets tokens see: so many of the last, or all."""

    window: int | None


class Survey:
    """Notes which modules attend, in the order in which they do, and answers zeros."""

    def __init__(self) -> None:
        self.layers: dict[nn.Module, PagedLayer] = {}

    def attend(
        self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, sight: Sight | None, spec: AttentionSpec
    ) -> Tensor:
        if module in self.layers:
            raise Unfit("a layer attends twice")
        if not isinstance(sight, Sight):
            raise Unfit("a layer does not say what it may see")
        if q.shape[1] != k.shape[1]:
            raise Unfit("a layer attends to what is not its tokens")
        self.layers[module] = PagedLayer(k.shape[2], max(k.shape[3], v.shape[3]), sight.window)
        return q.new_zeros(*q.shape[:3], v.shape[3])


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One batch, and in which place of its cache a module attends."""

    batch: Batch
    places: Mapping[nn.Module, int]
    layers: Sequence[PagedLayer]
    kernels: Kernels | None

    def attend(
        self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, sight: Sight | None, spec: AttentionSpec
    ) -> Tensor:
        place = self.places[module]
        layer, width = self.layers[place], v.shape[3]
        q, k, v = (F.pad(each[0], (0, layer.head_dim - each.shape[3])) for each in (q, k, v))
        spec = AttentionSpec(spec.scale, layer.window, spec.softcap, spec.sinks)
        cache = self.batch.cache[place]
        out = ops.attention(q, k, v, spec=spec, cache=cache, batch=self.batch, kernels=self.kernels)
        return out[None, ..., :width]


class Paged:
    """How `trunk` is run: all sequences of a batch as one long text, whose attention knows better."""

    note = "transformers computes it, with our attention and cache"
    alone = False

    def __init__(self, trunk: Any, kernels: Kernels | None) -> None:
        """Raises `Unfit` where the class does not ask for its attention, or for one that is not computed here."""
        self._trunk, self._kernels = trunk, kernels
        _register()
        survey = Survey()
        ids = torch.zeros(1, 3, dtype=torch.int64, device=next(trunk.parameters()).device)
        self._run(_SURVEY, ids, torch.arange(3, device=ids.device)[None], survey)
        if not survey.layers:
            raise Unfit("no layer asks for its attention")
        self._layers = tuple(survey.layers.values())
        self._places = {module: place for place, module in enumerate(survey.layers)}

    def cache_spec(self) -> CacheSpec:
        return CacheSpec(self._layers)

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states [tokens, hidden]."""
        step = Step(batch, self._places, self._layers, self._kernels)
        hidden: Tensor = self._run(_PAGED, batch.ids[None], batch.positions[None], step).last_hidden_state[0]
        return hidden

    def _run(self, implementation: str, ids: Tensor, positions: Tensor, step: "Survey | Step") -> Any:
        if self._trunk.config._attn_implementation != implementation:
            self._trunk.set_attn_implementation(implementation)
        return self._trunk(input_ids=ids, position_ids=positions, use_cache=False, return_dict=True, **{_STEP: step})


def _register() -> None:
    functions = import_module("transformers.modeling_utils").AttentionInterface
    masks = import_module("transformers.masking_utils").AttentionMaskInterface
    functions.register(_SURVEY, _attend)
    functions.register(_PAGED, _attend)
    masks.register(_SURVEY, _sight)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What a class calls: of [1, heads, tokens, head_dim] each, to [1, tokens, heads, head_dim]."""
    strange = [name for name, value in others.items() if isinstance(value, Tensor) and name not in _HARMLESS]
    if strange or others.get("is_causal") is False:
        raise Unfit(f"a layer attends by its {', '.join(strange) or 'own order'}")
    step: Survey | Step = others[_STEP]
    spec = AttentionSpec(query.shape[-1] ** -0.5 if scaling is None else scaling, softcap=softcap, sinks=s_aux)
    q, k, v = (each.transpose(1, 2) for each in (query, key, value))
    return step.attend(module, q, k, v, attention_mask, spec), None


def _sight(*, mask_function: Callable[..., Tensor], **_: Any) -> Sight:
    """What a mask lets tokens see, as it says of two places far along; `Unfit` where that is no window."""
    windows = {_seen_from(mask_function, place) for place in (_FAR - 1, _FAR - 1000)}
    if len(windows) > 1:
        raise Unfit("what a layer may see is no window")
    return Sight(windows.pop())


def _seen_from(mask_function: Callable[..., Tensor], place: int) -> int | None:
    """How many of the last tokens the one at `place` sees, with itself; None: all."""
    one = torch.tensor(0)
    seen = mask_function(one, one, torch.tensor(place), torch.arange(_FAR)).nonzero().flatten()
    if not len(seen) or int(seen[-1]) != place or len(seen) != place + 1 - int(seen[0]):
        raise Unfit("what a layer may see is no window")
    return len(seen) if int(seen[0]) else None

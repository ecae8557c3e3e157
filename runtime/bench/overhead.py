"""What a step costs beside the model: choosing who runs, making tensors of it, and noting what was chosen.

A wheel is turned over a model that computes nothing, with as many layers as the one that is measured and on its device.
Every sequence brings one token a step; scores have two entries, so that choosing among them costs next to nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from ...models.contract import Batch, CacheSpec, Model, PagedLayer, Placement, StateLayer, StateTensor, Weight
from ..assembly import assemble
from ..kv.pool import PageLayout
from ..options import EngineOptions
from ..params import SamplingParams
from ..sampler import Chooser
from ..sequence import Sequence
from ..wheel import Wheel
from .measure import Figure

SEQUENCES: Final = 256
PROMPT: Final = 64  # tokens of each
STEPS: Final = 20  # of a run
PAGE: Final = 16

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Config:
    context: int
    vocabulary: int = 2


class _Idle(Model):
    """As many layers as `spec`, one number each, and scores that are all alike."""

    def __init__(self, spec: CacheSpec, place: Placement, context: int) -> None:
        super().__init__()
        self.config = _Config(context)
        self.place = place
        self._spec = CacheSpec(tuple(map(_narrow, spec.layers)))
        self._hidden = torch.zeros(2 * SEQUENCES, 1, device=place.device)
        self._scores = torch.zeros(SEQUENCES, 2, device=place.device)

    def forward(self, batch: Batch) -> Tensor:
        return self._hidden[: len(batch.ids)]

    def logits(self, hidden: Tensor) -> Tensor:
        return self._scores[: len(hidden)]

    def cache_spec(self) -> CacheSpec:
        return self._spec

    def weights(self) -> Iterator[Weight]:
        return iter(())


def _narrow(layer: PagedLayer | StateLayer) -> PagedLayer | StateLayer:
    if isinstance(layer, PagedLayer):
        return replace(layer, kv_heads=1, head_dim=1)
    return StateLayer({name: StateTensor((1,), tensor.dtype) for name, tensor in layer.tensors.items()})


def measure_overhead(model: Model, runs: int) -> list[Figure]:
    """Milliseconds a step, of the steps of each run, for 256 sequences that run at once.

    What comes before the model can begin, and all that a step does beside it: that, choosing and noting tokens.
    """
    wheel = _running(model, (runs + 1) * STEPS)
    before = _Spent()
    for owner, method in ((wheel.scheduler, "next_step"), (wheel.runner, "batch")):
        setattr(owner, method, before.timed(getattr(owner, method)))
    values = [_steps(wheel, before) for _ in range(runs + 1)][1:]
    prepared, whole = zip(*values, strict=True)
    return [
        Figure("preparation", "ms", f"scheduling and batch preparation for {SEQUENCES} running sequences", prepared),
        Figure("overhead", "ms", "that, and choosing and noting their tokens: a step without its model", whole),
    ]


class _Spent:
    """Seconds spent in what is `timed`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Result]) -> Callable[..., Result]:
        def run(*given: Any) -> Result:
            started = perf_counter()
            try:
                return function(*given)
            finally:
                self.seconds += perf_counter() - started

        return run


def _steps(wheel: Wheel, before: _Spent) -> tuple[float, float]:
    """Milliseconds a step: before the model can begin, and all of it."""
    before.seconds = 0.0
    started = perf_counter()
    for _ in range(STEPS):
        wheel.turn()
    whole = perf_counter() - started
    return before.seconds * 1000 / STEPS, whole * 1000 / STEPS


def _running(model: Model, steps: int) -> Wheel:
    """A wheel whose sequences have all been read, and go on for so many steps."""
    context = PROMPT + steps + PROMPT + 1  # the first ones answer while the others are read, in as many steps as that
    idle = _Idle(model.cache_spec(), model.place, context)
    pages = SEQUENCES * -(-context // PAGE)
    layout = PageLayout.of(idle.cache_spec(), PAGE, model.place.dtype)
    states = 8 * SEQUENCES * sum(layer.nbytes for layer in idle.cache_spec().recurrent)
    options = EngineOptions(
        kv_memory=2 * (pages * layout.page_bytes + states),
        page_size=PAGE,
        batch_tokens=2 * SEQUENCES,
        sequences=SEQUENCES,
    )
    wheel, _ = assemble(idle, options)
    for number in range(SEQUENCES):
        sequence = Sequence(number + 1, [number] * PROMPT, context)
        wheel.put(sequence, Chooser(SamplingParams(temperature=0)))
    while any(sequence.pending > 1 for sequence in wheel.scheduler.running) or wheel.scheduler.waiting:
        wheel.turn()
    return wheel

"""How much of a step is kernels: the time of a decoding step at one stream, next to the sum of its kernels' times.

A wheel is turned over the model with a cache of its own, scheduler and sampler included. Where steps are replayed from
a recording, each kernel's time is taken in the compiled library itself, in the same steps.
"""

from time import perf_counter
from typing import Final

from ...models.contract import Model
from ..assembly import assemble
from ..kv.pool import PageLayout
from ..options import EngineOptions
from ..params import SamplingParams
from ..sampler import Chooser
from ..sequence import Sequence
from ..wheel import Wheel
from .measure import Figure

PROMPT: Final = 16
_STATES: Final = 8  # rows of states: of the one sequence, and of its snapshots
STEPS: Final = 32  # of a run
PAGE: Final = 16


def measure_steps(model: Model, runs: int) -> list[Figure]:
    """Milliseconds a step; what share of them its kernels take; why it was not replayed, where that is so."""
    wheel = _running(model, PROMPT + (runs + 2) * STEPS)
    replays = wheel.runner.replays
    replays.timed = True
    pairs = [_run(wheel) for _ in range(runs + 1)][1:]
    steps = Figure("step", "ms", "one token of one request", tuple(step * 1000 for step, _ in pairs))
    if not replays.replayed:
        why = "; ".join(replays.refused) or "there are no kernels"
        return [Figure(steps.name, steps.unit, f"{steps.about}, not replayed: {why}", steps.values)]
    about = f"of a step, replayed from a recording with {len(replays.torch_calls)} calls of torch in it"
    return [steps, Figure("in kernels", "%", about, tuple(100 * kernels / step for step, kernels in pairs))]


def _run(wheel: Wheel) -> tuple[float, float]:
    """Seconds of a step, and of its kernels."""
    wheel.runner.replays.take_times()
    started = perf_counter()
    for _ in range(STEPS):
        wheel.turn()
    seconds = perf_counter() - started
    return seconds / STEPS, sum(wheel.runner.replays.take_times().values()) / STEPS / 1e9


def _running(model: Model, context: int) -> Wheel:
    """A wheel whose one sequence has been read, and goes on until the context is full."""
    layout = PageLayout.of(model.cache_spec(), PAGE, model.place.dtype)
    pages = -(-context // PAGE)
    states = sum(layer.nbytes for layer in model.cache_spec().recurrent)
    memory = 2 * (pages * layout.page_bytes + _STATES * states)
    # Guesses would make some steps longer, and the sequence end sooner.
    options = EngineOptions(kv_memory=memory, page_size=PAGE, context=context, draft="off")
    wheel, _ = assemble(model, options)
    wheel.put(Sequence(1, [0] * PROMPT, context), Chooser(SamplingParams(temperature=0)))
    wheel.turn()
    return wheel

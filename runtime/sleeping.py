"""An engine asleep: its weights have left the device and its cache is given back; who asks next finds it awake.

Weights are read from their files again, which the system mostly still has in memory: so sleeping takes no memory of its
own, and works alike on every device. Recorded steps know where weights were, and go with them.
"""

import gc
from collections.abc import Callable
from collections.abc import Sequence as Many
from time import perf_counter

from ..models.contract import Model
from .device import spare
from .errors import CannotSleep
from .runner import Runner
from .scheduler import Scheduler
from .speculation.draft import DraftProposer
from .wheel import Wheel


class Sleeper:
    """Puts `wheel` to sleep while it has nothing to do. `again` read its model, and that which guesses ahead, if one
    does; with none it cannot sleep. `woke` is how many seconds waking took last.
    """

    def __init__(self, wheel: Wheel, name: str, again: Many[Callable[[], Model]]) -> None:
        self.is_asleep = False
        self.woke: float | None = None
        self._wheel, self._name, self._again = wheel, name, again

    def sleep(self) -> None:
        """Raises `CannotSleep` where nobody could wake it."""
        halves = self._halves()
        if len(self._again) != len(halves):
            raise CannotSleep(self._name)
        if self.is_asleep:
            return
        self.is_asleep = True
        if self._wheel.flights is not None and self._wheel.flights.decodes is not None:
            self._wheel.flights.decodes.drop_records()
        for runner, scheduler in halves:
            runner.put_by()
            scheduler.cache.give_back(scheduler.cache.held)
        gc.collect()
        spare(self._wheel.runner.device)

    def wake(self) -> None:
        """What reading the weights raises, leaves it asleep."""
        if not self.is_asleep:
            return
        began = perf_counter()
        models = [read() for read in self._again]
        for (runner, _), model in zip(self._halves(), models, strict=True):
            runner.take_up(model)
        self.is_asleep = False
        self.woke = perf_counter() - began

    def _halves(self) -> list[tuple[Runner, Scheduler]]:
        """What computes, over which cache: the model, and the draft's."""
        wheel = self._wheel
        found = [(wheel.runner, wheel.scheduler)]
        proposer = None if wheel.speculator is None else wheel.speculator.proposer
        if isinstance(proposer, DraftProposer):
            found.append((proposer.runner, proposer.scheduler))
        return found

"""An interrupt may come anywhere in a turn, while steps are on their way: nobody is told a token too few or twice."""

from collections.abc import Callable
from typing import Any

import pytest

from unillm.runtime.ahead.flights import Flights
from unillm.runtime.engine import Engine
from unillm.runtime.scheduler import Scheduler
from unillm.runtime.sequence import Sequence
from unillm.tests.runtime.ahead.late import Late, late_engine, recorded_engine
from unillm.tests.runtime.ahead.models import DeviceModel
from unillm.tests.runtime.engines import engine_over, greedy

PLACES = [(Scheduler, "set_off"), (Sequence, "set_off"), (Scheduler, "arrive"), (Sequence, "read"), (Flights, "landed")]
PROMPTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [3, 3, 3, 3, 3]]


class Interruption:
    """Comes once: before or after the call number `at` of a function."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._left, self._after = at, after

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if not self._left and not self._after:
                raise KeyboardInterrupt
            result = call(*given, **named)
            if not self._left:
                raise KeyboardInterrupt
            return result

        return interrupted


@pytest.mark.parametrize("graphs", [False, True], ids=["call by call", "graphs"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0].__name__}.{place[1]}")
def test_what_was_on_its_way_is_computed_again(
    place: tuple[type, str], after: bool, graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DeviceModel()
    for at in (1, 3, 11):
        with engine_over(model) as engine, monkeypatch.context() as patching:
            (recorded_engine if graphs else late_engine)(engine, Late())
            ids = [engine.submit(prompt, greedy(12)) for prompt in PROMPTS]
            patching.setattr(*place, Interruption(at, after=after).around(getattr(*place)))
            with pytest.raises(KeyboardInterrupt):
                turn_until_idle(engine)
            engine.check()
            assert told(engine, model, ids) > 0 or place[1] in ("arrive", "read", "landed")


def turn_until_idle(engine: Engine) -> None:
    while engine.step():
        pass


def told(engine: Engine, model: DeviceModel, ids: list[str]) -> int:
    """How many answers are whole; the others were aborted, and what was told of them is their beginning."""
    whole = 0
    for id_, prompt in zip(ids, PROMPTS, strict=True):
        updates = list(engine.follow(id_))
        done = updates[-1].completion
        assert done is not None
        tokens = [token for update in updates for token in update.token_ids]
        assert tokens == list(done.token_ids) == model.answer(prompt, 12)[: len(tokens)]
        assert done.finish_reason == ("length" if len(tokens) == 12 else "abort")
        whole += len(tokens) == 12
    return whole

"""Several threads share one engine, and one batch."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import Tensor

from unillm.models.contract import Batch
from unillm.runtime.errors import EngineClosed
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.engines import engine_over, greedy, make_engine
from unillm.tests.runtime.fakes import FakeModel

PATIENCE = 30.0  # seconds; a test that waits so long has hung


class GatedModel(FakeModel):
    """Waits in its forward pass until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.open = threading.Event(), threading.Event()

    def forward(self, batch: Batch) -> Tensor:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        return super().forward(batch)


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return [job.result(PATIENCE) for job in [pool.submit(work, i) for i in range(count)]]


def test_threads_stream_at_once_each_its_own() -> None:
    model = FakeModel()
    with engine_over(model) as engine:

        def work(index: int) -> None:
            for round_ in range(4):
                ids = [index + 1, round_ + 1]
                tokens = [token for update in engine.stream(ids, greedy(15)) for token in update.token_ids]
                assert tokens == model.answer(ids, 15)

        in_threads(6, work)


def test_threads_share_a_batch() -> None:
    model = GatedModel()
    with engine_over(model) as engine:
        first = threading.Thread(target=lambda: engine.generate([1], greedy(8)))
        first.start()
        assert model.entered.wait(PATIENCE)
        others = [engine.submit([index], greedy(8)) for index in (2, 3, 4)]
        model.open.set()
        for other in others:
            assert len(list(engine.follow(other))) == 8
        first.join(PATIENCE)
        assert max(len(batch.queries) for batch in model.batches) == 4


def test_an_abort_from_another_thread_is_done_after_the_turn() -> None:
    model = GatedModel()
    with engine_over(model) as engine:
        stream = engine.stream([1, 2, 3], SamplingParams(temperature=0))
        reader = ThreadPoolExecutor(1).submit(lambda: [update.finish_reason for update in stream])
        assert model.entered.wait(PATIENCE)
        engine.abort(stream.id)
        model.open.set()
        assert reader.result(PATIENCE)[-1] == "abort"


def test_an_engine_closed_in_the_midst_of_a_turn_ends_every_stream() -> None:
    model = GatedModel()
    engine = make_engine(model)
    stream = engine.stream([1, 2, 3], SamplingParams(temperature=0))
    with ThreadPoolExecutor(2) as pool:
        reader = pool.submit(lambda: [update.finish_reason for update in stream])
        assert model.entered.wait(PATIENCE)
        closer = pool.submit(engine.close)
        model.open.set()
        closer.result(PATIENCE)
        assert reader.result(PATIENCE)[-1] == "abort"
    with pytest.raises(EngineClosed):
        engine.generate([1])


def test_closing_from_within_ones_own_turn_does_not_hang() -> None:
    """As a signal handler would."""

    class Closing(FakeModel):
        def forward(self, batch: Batch) -> Tensor:
            if len(self.batches) == 3:
                engine.close()
            return super().forward(batch)

    engine = make_engine(Closing())
    done = engine.generate([1, 2], greedy(12))
    assert done.finish_reason == "abort"
    assert 0 < len(done.token_ids) < 12


def test_readers_get_their_updates_while_another_thread_turns() -> None:
    """The one that turns never stops to hand over; the others must not wait for its end."""
    model = FakeModel(context=4096)
    with engine_over(model, pages=2000) as engine:
        busy = engine.stream([1], greedy(1000))
        turned = [next(busy)]
        turner = threading.Thread(target=lambda: turned.extend(busy))
        turner.start()
        in_threads(2, lambda _: list(engine.stream([2, 3], greedy(20))))
        assert len(turned) < 1000
        turner.join(PATIENCE)
        assert len(turned) == 1000

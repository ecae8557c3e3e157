"""Engines over the fake model, small enough that pages run out and prompts are cut into chunks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from unillm.runtime.engine import Engine
from unillm.runtime.faults import Fault
from unillm.runtime.kv.pages import Sharing
from unillm.runtime.kv.swap import Measured, Swap
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

GREEDY = SamplingParams(temperature=0, max_tokens=12)


def greedy(count: int, **more: object) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=count, **more)  # type: ignore[arg-type]


def make_engine(
    model: FakeModel,
    *,
    pages: int = 256,
    page_size: int = 4,
    batch_tokens: int = 32,
    sequences: int = 8,
    context: int | None = None,
    tokenizer: ByteTokenizer | None = None,
    prefix_cache: Sharing = "radix",
    faults: Iterable[Fault] = (),
) -> Engine:
    page_bytes = 2 * 4 * model.layers * page_size
    options = EngineOptions(
        kv_memory=pages * page_bytes,
        page_size=page_size,
        batch_tokens=batch_tokens,
        sequences=sequences,
        context=context,
        prefix_cache=prefix_cache,
        faults=tuple(faults),
    )
    return Engine(model, tokenizer, options=options)


@contextmanager
def engine_over(model: FakeModel, **choices: object) -> Iterator[Engine]:
    """An engine that must end with every page accounted for and nothing left to do."""
    with make_engine(model, **choices) as engine:  # type: ignore[arg-type]
        yield engine
        engine.check()
        stats = engine.stats()
        assert (stats.waiting, stats.running, stats.sequence_pages) == (0, 0, 0)
        assert stats.free_pages + stats.cached_pages == stats.pages


class KeepsAll(Measured):
    """Copies the pages of whoever gives way, whatever that costs."""

    def keeps(self, size: int, tokens: int) -> bool:
        return size > 0 and tokens > 0


def swap_that_keeps_all(engine: Engine) -> Swap:
    """The engine's own, so judged from now on."""
    swap = engine._desk().look(lambda wheel: wheel.scheduler.swap)
    assert swap is not None
    swap.judge = KeepsAll()
    return swap

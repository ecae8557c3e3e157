"""Whatever a test does with an engine, in the end every page has one owner and nothing of any request is left."""

from collections.abc import Iterator
from weakref import WeakSet

import pytest

from unillm.runtime.desk import Desk


def nothing_is_left(desk: Desk) -> None:
    """EN-01: of a closed desk. Its wheel's own check is the allocator's."""
    wheel = desk._wheel
    wheel.scheduler.check()
    stats = wheel.stats(0)
    assert (stats.waiting, stats.running, stats.sequence_pages) == (0, 0, 0)
    assert (stats.free_pages + stats.cached_pages, stats.swap_bytes) == (stats.pages, 0)
    assert wheel.scheduler.cache.idle == stats.cached_pages
    assert [*wheel._choosers, *desk._askers, *desk._inbox, *desk._aborted] == []


@pytest.fixture(autouse=True)
def no_engine_loses_anything(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """EN-01: of every engine, when it is closed, or at the test's end."""
    desks: WeakSet[Desk] = WeakSet()
    make, close = Desk.__init__, Desk.close

    def made(desk: Desk, *args: object) -> None:
        make(desk, *args)  # type: ignore[arg-type]
        desks.add(desk)

    def closed(desk: Desk) -> None:
        close(desk)
        if desk._turner is None:
            nothing_is_left(desk)

    monkeypatch.setattr(Desk, "__init__", made)
    monkeypatch.setattr(Desk, "close", closed)
    yield
    for desk in desks:
        desk.close()

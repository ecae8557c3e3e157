"""On a GPU: a cache that grows under recorded steps, pages that are copied beside them, weights that go and come."""

import pytest
import torch

from unillm.runtime.kv.memory import grows
from unillm.tests.gpu.test_steps import answers, engine_of
from unillm.tests.runtime.engines import swap_that_keeps_all

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")


@pytest.fixture(scope="module")
def expected() -> list[tuple[int, ...]]:
    with engine_of(overlap=False, graphs=False) as engine:
        return answers(engine)


def test_the_driver_maps_memory_bit_by_bit() -> None:
    assert grows(torch.device("cuda:0"))


def test_a_cache_grows_under_recorded_steps(expected: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.runtime.kv.pool.SLAB_BYTES", 1 << 16)
    with engine_of(overlap=True, graphs=True) as engine:
        assert engine.stats().slabs == 1
        for _ in range(2):
            assert answers(engine) == expected
        assert engine.stats().slabs > 3
        engine.check()


def test_pages_of_who_gave_way_come_back(expected: list[tuple[int, ...]]) -> None:
    with engine_of(overlap=True, graphs=True, kv_memory=1 << 20) as engine:
        swap = swap_that_keeps_all(engine)
        assert answers(engine) == expected
        assert min(engine.stats().gave_way, swap.out, swap.back) > 0
        engine.check()


def test_an_engine_sleeps_and_wakes(expected: list[tuple[int, ...]]) -> None:
    with engine_of(overlap=True, graphs=True) as engine:
        assert answers(engine) == expected
        awake = torch.cuda.memory_allocated()
        engine.sleep()
        assert awake - torch.cuda.memory_allocated() >= engine.weight_bytes
        assert answers(engine) == expected

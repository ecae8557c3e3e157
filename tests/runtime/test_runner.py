"""What a step's chunks become as tensors."""

import torch

from unillm.runtime.kv.groups import windows_of
from unillm.runtime.kv.pages import PageCache
from unillm.runtime.kv.pool import KVPool, PageLayout
from unillm.runtime.runner import Runner
from unillm.runtime.scheduler import Scheduler
from unillm.runtime.sequence import Sequence
from unillm.tests.runtime.fakes import FakeModel


def runner_and_scheduler(pages: int = 16, page_size: int = 4) -> tuple[Runner, Scheduler]:
    model = FakeModel(layers=3)
    pool = KVPool(PageLayout.of(model.cache_spec(), page_size, torch.float32), pages, torch.device("cpu"))
    cache = PageCache(pages, page_size, windows=windows_of(pool.layout.groups))
    return Runner(model, pool, sequences=4, context=64), Scheduler(cache, batch_tokens=12, sequences=4)


def test_a_batch_says_of_each_token_what_it_is_and_where_it_goes() -> None:
    runner, scheduler = runner_and_scheduler()
    first, second = Sequence(1, [10, 11, 12, 13, 14], limit=20), Sequence(2, [20, 21, 22], limit=20)
    scheduler.add(first)
    for chunk in scheduler.next_step():
        scheduler.advance(chunk)
    first.tokens.append(15)
    scheduler.add(second)
    batch = runner.batch(scheduler.next_step())
    assert batch.ids.tolist() == [15, 20, 21, 22]
    assert batch.positions.tolist() == [5, 0, 1, 2]
    assert (batch.queries, batch.contexts) == ((1, 3), (6, 3))
    assert batch.starts.tolist() == [0, 1, 4]
    assert batch.lengths.tolist() == [6, 3]
    assert batch.rows.tolist() == [0, 3]
    assert (batch.starts.dtype, batch.lengths.dtype) == (torch.int32, torch.int32)
    assert len(batch.cache) == 3
    view = batch.cache[0]
    assert (view.table.dtype, view.slots.dtype) == (torch.int32, torch.int64)
    assert view.table[:, :1].tolist() == [[0], [2]]
    assert view.table[0, 1].item() == 1
    assert view.slots.tolist() == [5, 8, 9, 10]
    assert view.keys.shape == (17, 4, 1, 1)  # with the one that is nobody's


def test_a_part_of_a_prompt_wants_no_scores_and_gets_none() -> None:
    runner, scheduler = runner_and_scheduler()
    scheduler.add(Sequence(1, list(range(30)), limit=40))
    chunks = scheduler.next_step()
    assert runner.batch(chunks).rows.tolist() == []
    assert runner.run(chunks) is None


def test_the_page_table_follows_pages_that_were_exchanged() -> None:
    runner, scheduler = runner_and_scheduler()
    first, second = Sequence(1, list(range(6)), limit=20), Sequence(2, list(range(6)), limit=20)
    scheduler.add(first)
    scheduler.add(second)
    chunks = scheduler.next_step()
    assert runner.batch(chunks).cache[0].table.tolist() == [[0, 1], [2, 3]]
    for chunk in chunks:
        scheduler.advance(chunk)
        chunk.sequence.tokens.append(9)
    assert runner.batch(scheduler.next_step()).cache[0].table.tolist() == [[0, 1], [0, 3]]


def test_a_pool_is_zero_and_costs_nothing_until_it_is_used() -> None:
    layout = PageLayout.of(FakeModel(layers=2).cache_spec(), 16, torch.bfloat16)
    assert (layout.token_bytes, layout.page_bytes) == (8, 128)
    before = _resident()
    pool = KVPool(layout, (1 << 30) // 128, torch.device("cpu"))
    assert _resident() - before < 64 << 20
    assert pool.keys[0].data_ptr() % 64 == 0
    assert pool.values[1][-1].abs().sum() == 0
    pool.keys[0][0] = 1
    pool.values[0][0] = 2
    assert pool.keys[1][0].abs().sum() == 0
    assert pool.keys[0][1].abs().sum() == 0


def _resident() -> int:
    from pathlib import Path

    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0

"""Drives a scheduler without any model: every sequence "chooses" the token 1 until its limit."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many

from unillm.runtime.kv.pages import PageCache, Sharing
from unillm.runtime.scheduler import Chunk, Scheduler
from unillm.runtime.sequence import Sequence


def scheduler(
    pages: int = 64,
    *,
    page_size: int = 4,
    batch_tokens: int = 32,
    sequences: int = 8,
    sharing: Sharing = "radix",
    windows: Many[int | None] = (None,),
) -> Scheduler:
    cache = PageCache(pages, page_size, windows=windows, sharing=sharing)
    return Scheduler(cache, batch_tokens=batch_tokens, sequences=sequences)


class Arrivals:
    """Numbers sequences in the order they are made; prompts differ unless `first` says otherwise."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, prompt: int, more: int = 4, *, first: int | None = None, priority: int = 0) -> Sequence:
        self.number += 1
        tokens = [1000 * self.number if first is None else first, *range(2, prompt + 1)]
        return Sequence(self.number, tokens, limit=prompt + more, priority=priority)


def step(target: Scheduler, choose: Callable[[Sequence], int] = lambda _: 1) -> list[Chunk]:
    """One turn with a model that computes nothing."""
    chunks = target.next_step()
    target.check()
    for chunk in chunks:
        has_what_it_sees(target.cache, chunk)
    for chunk in chunks:
        is_last, sequence = chunk.is_last, chunk.sequence
        target.advance(chunk)
        if is_last and sequence.chooses:
            sequence.tokens.append(choose(sequence))
        if is_last and (len(sequence.tokens) >= sequence.limit or not sequence.chooses):
            target.finish(sequence)
    target.check()
    return chunks


def has_what_it_sees(cache: PageCache, chunk: Chunk) -> None:
    """Every group has the pages of the chunk's tokens and of all that the first of them sees."""
    lease = chunk.sequence.lease
    assert lease is not None
    assert chunk.count
    for group, table in zip(cache.groups, lease.tables, strict=True):
        first = 0 if group.window is None else max(0, chunk.start - group.window + 1)
        assert table.first * cache.page_size <= first
        assert chunk.stop <= table.stop * cache.page_size


def until_idle(target: Scheduler, most: int = 10_000) -> Iterator[list[Chunk]]:
    while not target.is_idle:
        most -= 1
        assert most, "the scheduler makes no progress"
        yield step(target)

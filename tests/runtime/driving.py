"""Drives a scheduler without any model: every sequence "chooses" the token 1 until its limit."""

from collections.abc import Callable, Iterator

from unillm.runtime.kv.pages import PageCache, Sharing
from unillm.runtime.scheduler import Chunk, Scheduler
from unillm.runtime.sequence import Sequence


def scheduler(
    pages: int = 64, *, page_size: int = 4, batch_tokens: int = 32, sequences: int = 8, sharing: Sharing = "radix"
) -> Scheduler:
    return Scheduler(PageCache(pages, page_size, sharing=sharing), batch_tokens=batch_tokens, sequences=sequences)


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
    for chunk in chunks:
        is_last, sequence = chunk.is_last, chunk.sequence
        target.advance(chunk)
        if is_last and sequence.chooses:
            sequence.tokens.append(choose(sequence))
        if is_last and (len(sequence.tokens) >= sequence.limit or not sequence.chooses):
            target.finish(sequence)
    target.check()
    return chunks


def until_idle(target: Scheduler, most: int = 10_000) -> Iterator[list[Chunk]]:
    while not target.is_idle:
        most -= 1
        assert most, "the scheduler makes no progress"
        yield step(target)

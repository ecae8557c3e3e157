"""One turn after the other: choose what runs, compute it, take what came out.

The wheel knows token ids and scores; it knows neither text nor threads. What goes wrong in one request's own work ends
that request and no other: a step that raises is cut in halves until the guilty one stands alone.
"""

from collections.abc import Sequence as Many
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .results import FinishReason, Stats
from .runner import Runner
from .sampler import Chooser, Row, Sample, sample
from .scheduler import Chunk, Scheduler
from .sequence import Sequence, State

Result: TypeAlias = Sample | Tensor | Exception | None


class Outcome(NamedTuple):
    """What the turn that `began` then did for a sequence: a token, or scores, or an error, or only a part of a prompt.

    `finished` is set when it was its last.
    """

    sequence: Sequence
    began: float
    sample: Sample | None = None
    scores: Tensor | None = None
    error: Exception | None = None
    finished: FinishReason | None = None


class Wheel:
    """Turns over all sequences that were put on it, until each is finished or taken off."""

    def __init__(self, scheduler: Scheduler, runner: Runner) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.steps = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self._choosers: dict[int, Chooser] = {}

    def put(self, sequence: Sequence, chooser: Chooser | None = None) -> None:
        """Let `sequence` wait for its turn. One that is only scored needs no `chooser`."""
        self.scheduler.add(sequence)
        if chooser is not None:
            self._choosers[sequence.number] = chooser

    def take_off(self, sequence: Sequence, *, trusted: bool = True) -> None:
        """End `sequence` wherever it is; nothing happens when it has ended already."""
        if sequence.state is State.FINISHED:
            return
        self.scheduler.finish(sequence, trusted=trusted)
        self._choosers.pop(sequence.number, None)
        if sequence.cached is not None:
            self.prompt_tokens += sequence.num_prompt
            self.cached_tokens += sequence.cached
            self.completion_tokens += sequence.num_completion

    def turn(self) -> list[Outcome]:
        """One step. Empty when there was nothing to do."""
        began = perf_counter()
        chunks = self.scheduler.next_step()
        if not chunks:
            return []
        self.steps += 1
        results = self._compute_apart(chunks)
        return [self._take(chunk, result, began) for chunk, result in zip(chunks, results, strict=True)]

    def stats(self, context: int) -> Stats:
        scheduler, cache = self.scheduler, self.scheduler.cache
        return Stats(
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            context=context,
            page_size=cache.page_size,
            pages=cache.pages,
            free_pages=cache.free,
            cached_pages=cache.tree.pages,
            sequence_pages=cache.pages - cache.free - cache.tree.pages,
            steps=self.steps,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            gave_way=scheduler.gave_way,
        )

    def _compute_apart(self, chunks: Many[Chunk]) -> list[Result]:
        """A result a chunk. Computing one again is harmless: it writes the same places with the same values."""
        try:
            return self._compute(chunks)
        except Exception as error:  # a door: whatever a model or a sampler may raise belongs to some request
            if len(chunks) == 1:
                return [error]
        half = len(chunks) // 2
        return self._compute_apart(chunks[:half]) + self._compute_apart(chunks[half:])

    @torch.inference_mode()
    def _compute(self, chunks: Many[Chunk]) -> list[Result]:
        logits = self.runner.run(chunks)
        results: list[Result] = [None] * len(chunks)
        if logits is None:
            return results
        counts = [len(chunk.wanted) for chunk in chunks]
        scored = [i for i, chunk in enumerate(chunks) if chunk.sequence.scored_from is not None]
        choosing = [i for i, count in enumerate(counts) if count and chunks[i].sequence.scored_from is None]
        if scored:
            pieces = torch.split(logits, counts)
            for i in scored:
                results[i] = pieces[i].cpu()
            logits = torch.cat([pieces[i] for i in choosing]) if choosing else None
        if logits is not None:
            rows = [Row(self._choosers[chunks[i].sequence.number], chunks[i].stop) for i in choosing]
            for i, chosen in zip(choosing, sample(logits, rows), strict=True):
                results[i] = chosen
        return results

    def _take(self, chunk: Chunk, result: Result, began: float) -> Outcome:
        sequence = chunk.sequence
        if isinstance(result, Exception):
            self.take_off(sequence, trusted=False)
            return Outcome(sequence, began, error=result, finished="error")
        finished: FinishReason | None = "stop" if chunk.is_last and sequence.scored_from is not None else None
        self.scheduler.advance(chunk)
        if isinstance(result, Sample):
            sequence.tokens.append(result.token)
            self._choosers[sequence.number].saw(result.token)
            if result.token in sequence.ends:
                finished = "stop"
            elif len(sequence.tokens) >= sequence.limit:
                finished = "length"
        if finished:
            self.take_off(sequence)
        if isinstance(result, Tensor):
            return Outcome(sequence, began, scores=result, finished=finished)
        return Outcome(sequence, began, sample=result, finished=finished)

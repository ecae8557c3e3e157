"""One turn after the other: choose what runs, compute it, take what came out.

The wheel knows token ids and scores; it knows neither text nor threads. What goes wrong in one request's own work ends
that request and no other: a step that raises is cut in halves until the guilty one stands alone.
"""

from collections.abc import Sequence as Many
from math import isnan
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .errors import NonFiniteLogits
from .results import FinishReason, Stats
from .runner import Runner
from .sampler import Chooser, Row, Sample, read_logprobs, sample
from .scheduler import Chunk, Scheduler
from .sequence import Sequence, State


class Computed(NamedTuple):
    """What a chunk yields: scores that were asked for, how likely tokens of the prompt are, a chosen token."""

    scores: Tensor | None = None
    read: tuple[Sample, ...] = ()
    sample: Sample | None = None


Result: TypeAlias = Computed | Exception


class Outcome(NamedTuple):
    """What the turn that `began` then did for a sequence: a result, or an error, or only a part of a prompt.

    `finished` is set when it was its last.
    """

    sequence: Sequence
    began: float
    result: Computed = Computed()
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
        self.sample = sample
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

    def truncate(self, sequence: Sequence, tokens: int) -> None:
        """Roll `sequence` back to its first `tokens` tokens: what comes next is as if it had never been longer."""
        gone = sequence.tokens[tokens:]
        self.scheduler.truncate(sequence, tokens)
        for token in gone:
            self._choosers[sequence.number].forget(token)

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
            cached_pages=cache.prefixes.pages,
            sequence_pages=cache.pages - cache.free - cache.prefixes.pages,
            steps=self.steps,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            gave_way=scheduler.gave_way,
            evicted_pages=cache.evicted,
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
        if logits is None:
            return [Computed() for _ in chunks]
        pieces = torch.split(logits, [len(chunk.wanted) for chunk in chunks])
        choosing = [i for i, chunk in enumerate(chunks) if chunk.is_last and chunk.sequence.chooses]
        results = [self._read(chunk, piece) for chunk, piece in zip(chunks, pieces, strict=True)]
        if choosing:
            last = logits if len(choosing) == len(logits) else torch.cat([pieces[i][-1:] for i in choosing])
            rows = [Row(self._choosers[chunks[i].sequence.number], chunks[i].stop) for i in choosing]
            for i, chosen in zip(choosing, self.sample(last, rows), strict=True):
                results[i] = _with_sample(results[i], chosen)
        return results

    def _read(self, chunk: Chunk, logits: Tensor) -> Result:
        """What is wanted of the scores of a prompt: they themselves, or how likely they make the prompt's tokens."""
        sequence = chunk.sequence
        if sequence.scored_from is None:
            return Computed()
        chooser = self._choosers.get(sequence.number)
        if chooser is None or chooser.prompt_logprobs is None:
            return Computed(scores=logits.cpu())
        targets = sequence.tokens[chunk.wanted.start + 1 : chunk.stop + 1]
        read = read_logprobs(logits, targets, chooser.prompt_logprobs)
        wrong = next((i for i, one in enumerate(read) if isnan(one.logprob or 0)), None)
        return Computed(read=tuple(read)) if wrong is None else NonFiniteLogits(chunk.wanted[wrong] + 1)

    def _take(self, chunk: Chunk, result: Result, began: float) -> Outcome:
        sequence = chunk.sequence
        if isinstance(result, Exception):
            self.take_off(sequence, trusted=False)
            return Outcome(sequence, began, error=result, finished="error")
        finished = self._advance(chunk, result.sample)
        if finished:
            self.take_off(sequence)
        return Outcome(sequence, began, result, finished=finished)

    def _advance(self, chunk: Chunk, chosen: Sample | None) -> FinishReason | None:
        """Note what was computed and chosen; why the sequence ends, if it does."""
        sequence = chunk.sequence
        self.scheduler.advance(chunk)
        if chosen is None:
            return "length" if chunk.is_last and not sequence.chooses else None
        sequence.tokens.append(chosen.token)
        self._choosers[sequence.number].saw(chosen.token)
        if chosen.token in sequence.ends:
            return "stop"
        return "length" if len(sequence.tokens) >= sequence.limit else None


def _with_sample(result: Result, chosen: Sample | NonFiniteLogits) -> Result:
    if isinstance(result, Exception):
        return result
    return chosen if isinstance(chosen, Exception) else result._replace(sample=chosen)

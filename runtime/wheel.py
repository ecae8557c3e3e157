"""One turn after the other: choose what runs, compute it, take what came out.

The wheel knows token ids and scores; it knows neither text nor threads. What goes wrong in one request's own work ends
that request and no other: a step that raises is cut in halves until the guilty one stands alone.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from math import isnan
from time import perf_counter
from traceback import clear_frames
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .ahead.flights import Flights
from .errors import NonFiniteLogits, NotEnoughMemory
from .results import FinishReason, Stats
from .runner import Runner
from .sampler import Chooser, Row, Sample, Unsampled, read_logprobs, sample
from .scheduler import Chunk, Scheduler
from .sequence import Sequence, State
from .speculation.proposer import Proposer
from .speculation.speculator import Speculator

STARVING = 0.05  # seconds that a turn waits for memory
STARVED = 30.0  # seconds after which others are taken to stand still


class Computed(NamedTuple):
    """What a chunk yields: scores that were asked for, how likely tokens of the prompt are, a chosen token."""

    scores: Tensor | None = None
    read: tuple[Sample, ...] = ()
    sample: Sample | None = None
    more: tuple[Sample | Unsampled, ...] = ()  # what was chosen after it, where it had been guessed


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

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        proposer: Proposer | None = None,
        flights: Flights | None = None,
    ) -> None:
        """With `flights` a step is started, where it may be, before the one before it was read."""
        self.scheduler = scheduler
        self.runner = runner
        self.flights = flights
        self.speculator = None if proposer is None else Speculator(proposer, scheduler)
        self.steps = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.sample = sample
        self.taken: Many[Sequence] = ()  # those whose results the last turn took, whoever has heard of them
        self._starved: float | None = None  # since when nothing ran for want of memory, and nothing else did either
        self._choosers: dict[int, Chooser] = {}
        self._stumbled = False  # what would start a step raised, while another was on its way
        self._landed = 0.0

    def put(self, sequence: Sequence, chooser: Chooser | None = None) -> None:
        """Let `sequence` wait for its turn. One that is only scored needs no `chooser`."""
        self.scheduler.add(sequence)
        if chooser is not None:
            self._choosers[sequence.number] = chooser

    def take_off(self, sequence: Sequence, *, trusted: bool = True) -> None:
        """End `sequence` wherever it is; nothing happens when it has ended already."""
        if sequence.state is State.FINISHED:
            return
        if self.flights is not None:
            self.flights.call_back(sequence)
        self.scheduler.finish(sequence, trusted=trusted)
        self._choosers.pop(sequence.number, None)
        self._forget_guesses(sequence)
        if sequence.cached is not None:
            self.prompt_tokens += sequence.num_prompt
            self.cached_tokens += sequence.cached
            self.completion_tokens += sequence.num_completion

    def unsay(self, outcome: Outcome) -> None:
        """A token counts for nothing: one that the same turn chose before it was the last that anybody wanted."""
        self.completion_tokens -= outcome.result.sample is not None

    def truncate(self, sequence: Sequence, tokens: int) -> None:
        """Roll `sequence` back to its first `tokens` tokens: what comes next is as if it had never been longer."""
        if self.flights is not None:
            self.flights.call_back(sequence)
        gone = sequence.tokens[tokens:]
        self.scheduler.truncate(sequence, tokens)
        self._forget_guesses(sequence)
        for token in gone:
            self._choosers[sequence.number].forget(token)

    def turn(self) -> list[Outcome]:
        """One step. Empty when there was nothing to do. After an interrupt what was on its way is computed again."""
        self.taken = ()
        try:
            return self._turn()
        except BaseException:
            if self.flights is not None:
                self.flights.call_back_all()
            raise

    def _turn(self) -> list[Outcome]:
        began = perf_counter()
        chunks = self.scheduler.next_step()
        if self.flights is not None:
            if chunks and self._starts(self.flights, chunks, began):
                self._note_step()
                return self._land(self.flights) if len(self.flights) > 1 else []
            if self.flights:  # what it chose is to be known first: the next turn plans anew
                return self._land(self.flights)
        if not chunks:
            return self._wait_for_memory(began) if self.scheduler.waiting else []
        self._note_step()
        if self.speculator is not None:
            chunks = self.speculator.extend(chunks, self._choosers)
        results = self._compute_timed(chunks)
        self.taken = [chunk.sequence for chunk in chunks]
        return [one for chunk, result in zip(chunks, results, strict=True) for one in self._take(chunk, result, began)]

    def stats(self, context: int) -> Stats:
        scheduler, cache = self.scheduler, self.scheduler.cache
        return Stats(
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            context=context,
            page_size=cache.page_size,
            pages=cache.pages,
            free_pages=cache.free,
            cached_pages=cache.cached,
            sequence_pages=cache.pages - cache.free - cache.cached,
            steps=self.steps,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            gave_way=scheduler.gave_way,
            evicted_pages=cache.evicted,
            proposed=0 if self.speculator is None else self.speculator.proposed,
            accepted=0 if self.speculator is None else self.speculator.accepted,
            guessing_failed=None if self.speculator is None else self.speculator.failure,
            kv_dtype=str(self.runner.pool.layout.dtype).removeprefix("torch."),
            kv_bytes=cache.held,
            kv_budget=cache.slabs.budget.size,
            slabs=cache.slabs.count,
            swapped_out=0 if scheduler.swap is None else scheduler.swap.out,
            swapped_in=0 if scheduler.swap is None else scheduler.swap.back,
            swap_bytes=0 if scheduler.swap is None else scheduler.swap.held,
        )

    def _note_step(self) -> None:
        self.scheduler.cache.recover()
        self._starved = None
        self.steps += 1

    def _starts(self, flights: Flights, chunks: list[Chunk], began: float) -> bool:
        """Start a step of `chunks`, where that may be done before the last one was read.

        What raises is left for a step by itself, which finds out whose fault it is.
        """
        if self._stumbled or not all(flights.takes(one, self._choosers.get(one.sequence.number)) for one in chunks):
            self._stumbled = False
            return False
        if self.speculator is not None and self.speculator.would_guess(chunks):
            return False
        try:
            flights.start(chunks, self._choosers, began)
        except Exception:  # a door, as for a step by itself
            self._stumbled = bool(flights)
            return False
        return True

    def _land(self, flights: Flights) -> list[Outcome]:
        """Read the step that was started first."""
        flight, results = flights.wait()
        seconds = perf_counter() - max(flight.began, self._landed)
        self._landed = perf_counter()
        self._timed(flight.chunks, seconds)
        if self.speculator is not None and all(chunk.count == 1 for chunk in flight.chunks):
            self.speculator.timed_late(len(flight.chunks), seconds)
        outcomes = []
        self.taken = [chunk.sequence for chunk in flight.chunks]
        for chunk, lease, result in zip(flight.chunks, flight.leases, results, strict=True):
            sequence = chunk.sequence
            if sequence.state is State.FINISHED or sequence.number in flight.called_back:
                continue
            if isinstance(result, Exception):
                outcomes.append(self._fail(sequence, result, flight.began))
                continue
            self.scheduler.arrive(chunk, lease)
            outcomes.append(self._take_late(chunk, result, flight.began))
        flights.landed()
        return outcomes

    def _take_late(self, chunk: Chunk, sample: Sample | None, began: float) -> Outcome:
        if sample is None:
            return Outcome(chunk.sequence, began)
        finished = self._choose(chunk.sequence, sample.token)
        if self.speculator is not None:
            self.speculator.heard(chunk, [sample.token])
        if finished:
            self.take_off(chunk.sequence)
        return Outcome(chunk.sequence, began, Computed(sample=sample), finished=finished)

    def _compute_timed(self, chunks: Many[Chunk]) -> list[Result]:
        started = perf_counter()
        results = self._compute_apart(chunks)
        seconds = perf_counter() - started
        if self.speculator is not None:
            self.speculator.timed(chunks, seconds)
        self._timed(chunks, seconds)
        return results

    def _timed(self, chunks: Many[Chunk], seconds: float) -> None:
        if self.scheduler.swap is not None and any(chunk.count > 1 for chunk in chunks):
            self.scheduler.swap.judge.computed(sum(chunk.count for chunk in chunks), seconds)

    def _wait_for_memory(self, began: float) -> list[Outcome]:
        """There is no memory now: wait a moment. If nobody gives any back, who is first fails."""
        cache, first = self.scheduler.cache, self.scheduler.waiting.first()
        if cache.starve(STARVING):
            self._starved = None
            return []
        self._starved = self._starved or began
        if first is None or perf_counter() - self._starved < STARVED:
            return []
        needed, left = cache.needed(len(first.tokens)) * cache.slabs.page_bytes, max(cache.slabs.budget.left, 0)
        if needed > left:
            beside = "a prompt, beside what other engines hold that share the budget and stand still"
            error = NotEnoughMemory(needed, left, beside)
        else:  # the budget would pay: it is the system that has none
            error = NotEnoughMemory(needed, cache.held, "a prompt, in a cache that could not grow,")
        self.take_off(first, trusted=False)
        return [Outcome(first, began, error=error, finished="error")]

    def _compute_apart(self, chunks: Many[Chunk]) -> list[Result]:
        """A result a chunk. Computing one again is harmless: it writes the same places with the same values."""
        try:
            return self._compute(chunks)
        except Exception as error:  # a door: whatever a model or a sampler may raise belongs to some request
            if len(chunks) == 1 and not chunks[0].guess:
                return [error]
        if len(chunks) == 1:
            return self._compute_apart([chunks[0].plain])  # it may have come of the guess
        half = len(chunks) // 2
        return self._compute_apart(chunks[:half]) + self._compute_apart(chunks[half:])

    @torch.inference_mode()
    def _compute(self, chunks: Many[Chunk]) -> list[Result]:
        logits = self.runner.run(chunks)
        if logits is None:
            return [Computed() for _ in chunks]
        choosing = [i for i, chunk in enumerate(chunks) if chunk.is_last and chunk.sequence.chooses]
        counts = [1 + len(chunks[i].guess) for i in choosing]
        results: list[Result] = [Computed() for _ in chunks]
        last = logits
        if sum(counts) < len(logits) or any(chunk.sequence.scored_from is not None for chunk in chunks):
            pieces = torch.split(logits, [len(chunk.wanted) for chunk in chunks])
            results = [self._read(chunk, piece) for chunk, piece in zip(chunks, pieces, strict=True)]
            last = torch.cat([logits[:0], *(pieces[i][-n:] for i, n in zip(choosing, counts, strict=True))])
        if choosing:
            samples = iter(self.sample(last, [row for i in choosing for row in self._rows(chunks[i])]))
            for i in choosing:
                results[i] = _with_samples(results[i], _as_one_by_one(samples, chunks[i].guess))
        return results

    def _rows(self, chunk: Chunk) -> list[Row]:
        """One for the next token, and one for each after a token of the guess, as if that had been chosen."""
        chooser, guess = self._choosers[chunk.sequence.number], chunk.guess
        if not guess:
            return [Row(chooser, chunk.stop)]
        place = chunk.stop - len(guess)
        return [Row(chooser.after(guess[:count]), place + count, guess[:count]) for count in range(len(guess) + 1)]

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

    def _take(self, chunk: Chunk, result: Result, began: float) -> list[Outcome]:
        """What is to be told of a chunk: of each token that it chose, one after the other."""
        sequence = chunk.sequence
        if isinstance(result, Exception):
            return [self._fail(sequence, result, began)]
        if result.sample is None:
            return [self._take_unchosen(chunk, result, began)]
        if not result.more:
            return [self._take_one(chunk, result, result.sample.token, began)]
        taken: list[Outcome] = []
        failed: Unsampled | None = None
        finished: FinishReason | None = None
        for chosen in (result.sample, *result.more):
            if isinstance(chosen, Exception):
                failed = chosen
                break
            finished = self._choose(sequence, chosen.token)
            taken.append(Outcome(sequence, began, result._replace(sample=chosen, more=()), finished=finished))
            result = Computed()
            if finished:
                break
        self._advance(chunk, len(taken))
        if failed is not None:
            taken.append(self._fail(sequence, failed, began))
        elif finished:
            self.take_off(sequence)
        return taken

    def _take_unchosen(self, chunk: Chunk, result: Computed, began: float) -> Outcome:
        sequence = chunk.sequence
        self.scheduler.advance(chunk)
        finished: FinishReason | None = "length" if chunk.is_last and not sequence.chooses else None
        if finished:
            self.take_off(sequence)
        return Outcome(sequence, began, result, finished=finished)

    def _take_one(self, chunk: Chunk, result: Computed, token: int, began: float) -> Outcome:
        sequence = chunk.sequence
        finished = self._choose(sequence, token)
        self._advance(chunk, 1)
        if finished:
            self.take_off(sequence)
        return Outcome(sequence, began, result, finished=finished)

    def _fail(self, sequence: Sequence, error: Exception, began: float) -> Outcome:
        _empty_frames(error)
        self.take_off(sequence, trusted=False)
        return Outcome(sequence, began, error=error, finished="error")

    def _choose(self, sequence: Sequence, token: int) -> FinishReason | None:
        """Note a token that was chosen; why the sequence ends, if it does."""
        chooser = self._choosers[sequence.number]
        sequence.read(token)
        chooser.saw(token)
        if token in sequence.ends or chooser.is_complete:
            return "stop"
        return "length" if sequence.is_full else None

    def _advance(self, chunk: Chunk, chosen: int) -> None:
        """Note that `chunk` was computed, and that `chosen` tokens came of it: all but the last had been guessed."""
        sequence = chunk.sequence
        self.scheduler.advance(chunk, chosen - 1)
        if self.speculator is not None:
            sequence.proposed += len(chunk.guess)
            sequence.accepted += chosen - 1
            self.speculator.heard(chunk, sequence.tokens[-chosen:])

    def _forget_guesses(self, sequence: Sequence) -> None:
        if self.speculator is not None:
            self.speculator.forget(sequence)


def _empty_frames(error: BaseException | None) -> None:
    """Where it was raised stays known; the tensors and the pool in those frames need not live as long as it does."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _as_one_by_one(samples: Iterator[Sample | Unsampled], guess: Many[int]) -> list[Sample | Unsampled]:
    """Of `samples` those for this `guess` and the token before it; what is left of them without it.

    A token counts only where all that was guessed before it is what was chosen there.
    """
    if not guess:
        return [next(samples)]
    taken = [next(samples) for _ in range(1 + len(guess))]
    right = 0
    for one, guessed in zip(taken, guess, strict=False):
        if isinstance(one, Exception) or one.token != guessed:
            break
        right += 1
    return taken[: right + 1]


def _with_samples(result: Result, chosen: list[Sample | Unsampled]) -> Result:
    if isinstance(result, Exception):
        return result
    first = chosen[0]
    return first if isinstance(first, Exception) else Computed(result.scores, result.read, first, tuple(chosen[1:]))

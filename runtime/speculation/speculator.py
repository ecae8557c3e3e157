"""Decides which steps carry guesses, and how many: the link between a wheel and a proposer.

Only steps in which every sequence is in its decode carry any: beside prompts, and among many sequences, arithmetic is
the limit and a guess takes from others what it may yield. What goes wrong here never ends a request: guessing ends.
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from typing import TypeVar

from ..sampler import Chooser
from ..scheduler import Chunk, Scheduler
from ..sequence import Sequence
from .costs import StepCosts
from .planning import plan
from .proposer import NO_PROSPECT, Proposer, Prospect, Wanted

Done = TypeVar("Done")
FEW = 32  # sequences: more fill a step by themselves


class Speculator:
    """Puts the guesses of `proposer` into the steps of `scheduler`. `error` is what ended it, if anything did."""

    def __init__(self, proposer: Proposer, scheduler: Scheduler, costs: StepCosts | None = None) -> None:
        self.proposer = proposer
        self.proposed = 0
        self.accepted = 0
        self.error: Exception | None = None
        self._scheduler = scheduler
        self._costs = costs or StepCosts()

    def extend(self, chunks: list[Chunk], choosers: Mapping[int, Chooser]) -> list[Chunk]:
        """`chunks` with guesses where these are likely to pay."""
        if len(chunks) > FEW or not all(_is_decode(chunk) for chunk in chunks):
            return chunks
        return self._guarded(lambda: self._with_guesses(chunks, choosers), chunks)

    def would_guess(self, chunks: list[Chunk]) -> bool:
        """Whether to read what is on its way before `chunks` are computed: a guess is likely to pay, going by what is
        known.
        """
        if len(chunks) > FEW or not all(_is_decode(chunk) for chunk in chunks):
            return False
        return self._guarded(lambda: any(self._counts(chunks)), False)

    def timed(self, chunks: Many[Chunk], seconds: float) -> None:
        """Computing `chunks`, and choosing, took `seconds`."""
        if len(chunks) <= FEW and all(_is_decode(chunk) for chunk in chunks):
            self._costs.note(sum(chunk.count for chunk in chunks), seconds)

    def timed_late(self, sequences: int, seconds: float) -> None:
        """A step that brought so many sequences a token took `seconds` of a row of such."""
        if sequences <= FEW:
            self._costs.note(sequences, seconds)

    @property
    def failure(self) -> str | None:
        """What ended the guessing, in words."""
        return None if self.error is None else f"{type(self.error).__name__}: {self.error}"

    def heard(self, chunk: Chunk, chosen: list[int]) -> None:
        """The step chose the tokens `chosen` after `chunk`."""
        self.proposed += len(chunk.guess)
        self.accepted += len(chosen) - 1
        if chunk.count == 1 + len(chunk.guess):
            self._guarded(lambda: self.proposer.heard(chunk.sequence, chunk.guess, chosen), None)

    def forget(self, sequence: Sequence) -> None:
        """`sequence` ended, or was rolled back."""
        self._guarded(lambda: self.proposer.forget(sequence), None)

    def _guarded(self, do: Callable[[], Done], otherwise: Done) -> Done:
        if self.error is not None:
            return otherwise
        try:
            return do()
        except Exception as error:  # a door: no request depends on guesses, none shall end with them
            self.error = error
            return otherwise

    def _with_guesses(self, chunks: list[Chunk], choosers: Mapping[int, Chooser]) -> list[Chunk]:
        counts = self._counts(chunks)
        guessed = [i for i, count in enumerate(counts) if count]
        if not guessed:
            return chunks
        wanted = [Wanted(chunks[i].sequence, choosers[chunks[i].sequence.number], counts[i]) for i in guessed]
        extended = list(chunks)
        for i, one, guess in zip(guessed, wanted, self.proposer.propose(wanted), strict=True):
            extended[i] = self._scheduler.with_guess(chunks[i], one.chooser.possible(guess))
        return extended

    def _counts(self, chunks: list[Chunk]) -> list[int]:
        """How many tokens to guess for each."""
        prospects = [self._prospect(chunk.sequence) for chunk in chunks]
        most = self._scheduler.batch_tokens - len(chunks)
        return plan(prospects, seconds=self._costs.seconds, drafting=self.proposer.seconds, most=most)

    def _prospect(self, sequence: Sequence) -> Prospect:
        """Of a sequence's last token nobody wants to know what follows. A state could not be rolled back."""
        if sequence.lease is not None and sequence.lease.state is not None:
            return NO_PROSPECT
        prospect = self.proposer.prospect(sequence)
        return prospect._replace(most=max(min(prospect.most, sequence.limit - len(sequence.tokens) - 1), 0))


def _is_decode(chunk: Chunk) -> bool:
    """Nothing but the next token of an answer is wanted of it."""
    sequence = chunk.sequence
    return chunk.is_last and sequence.chooses and sequence.scored_from is None and chunk.count == 1 + len(chunk.guess)

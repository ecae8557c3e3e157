"""How often guesses come true, of late."""

from collections.abc import Sequence
from dataclasses import dataclass

MEMORY = 0.95  # what an earlier trial weighs beside the one after it
CONFIDENCE = 4.0  # trials that the first estimate is worth
CERTAIN = 0.98  # nothing is surer: the gain of a long guess must not look endless


@dataclass(slots=True)
class Chance:
    """The share of trials that came true, from a first estimate on."""

    first: float
    tries: float = 0.0
    hits: float = 0.0

    @property
    def value(self) -> float:
        return min((self.hits + self.first * CONFIDENCE) / (self.tries + CONFIDENCE), CERTAIN)

    def note(self, guess: Sequence[int], chosen: Sequence[int]) -> None:
        """Each guessed token is a trial until one is wrong; what follows that one says nothing."""
        for guessed, token in zip(guess, chosen, strict=False):
            self.tries = self.tries * MEMORY + 1
            self.hits = self.hits * MEMORY + (guessed == token)
            if guessed != token:
                return

    def fade(self) -> None:
        """A step without a trial: what was learned counts for less, so that it is tried again some day."""
        self.tries *= MEMORY
        self.hits *= MEMORY

"""Guesses from the text itself: what followed the last few tokens where they stood before.

It costs next to nothing to look, so every guess is held against what was then chosen, also where it was not used: how
far to trust one is known by the length of what it continues, for each sequence by itself.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

from ..sequence import Sequence
from .chance import Chance
from .proposer import NO_PROSPECT, Prospect, Wanted

SHORTEST, LONGEST = 2, 8  # tokens at the end that must be equal, and that are looked at
MOST = 15  # tokens at once
WORD = 32  # bits that hold a token


def _first_chances() -> dict[int, Chance]:
    """The longer the part that repeats, the likelier does what follows."""
    return {length: Chance(0.2 + 0.08 * length) for length in range(SHORTEST, LONGEST + 1)}


@dataclass(slots=True)
class Lookup:
    """One sequence: what stands where after which tokens, the guess for this step, and how guesses fared."""

    places: dict[int, int] = field(default_factory=dict)
    read: int = SHORTEST
    length: int = 0
    guess: list[int] = field(default_factory=list)
    chances: dict[int, Chance] = field(default_factory=_first_chances)

    def look(self, tokens: list[int]) -> None:
        """Guess what follows `tokens`, which are those of last time and more."""
        places, count = self.places, len(tokens)
        for place in range(self.read, count):
            places[tokens[place - 2] << WORD | tokens[place - 1]] = place
        self.read = max(self.read, count)
        self.guess, self.length = [], 0
        found = places.get(tokens[-2] << WORD | tokens[-1]) if count > SHORTEST else None
        if found is not None:
            self.length = _equal_before(tokens, found)
            self.guess = _continued(tokens, found)


class NgramProposer:
    """Prompt look-up, for any number of sequences."""

    def __init__(self) -> None:
        self._lookups: dict[int, Lookup] = {}

    def prospect(self, sequence: Sequence) -> Prospect:
        lookup = self._lookups.get(sequence.number)
        if lookup is None:
            lookup = self._lookups[sequence.number] = Lookup()
        lookup.look(sequence.known)
        return Prospect(len(lookup.guess), lookup.chances[lookup.length].value) if lookup.guess else NO_PROSPECT

    def seconds(self, depth: int) -> float:
        return 0.0

    def propose(self, wanted: Many[Wanted]) -> list[list[int]]:
        return [self._lookups[sequence.number].guess[:most] for sequence, _, most in wanted]

    def heard(self, sequence: Sequence, guess: Many[int], chosen: Many[int]) -> None:
        lookup = self._lookups.get(sequence.number)
        if lookup is not None and lookup.guess:
            lookup.chances[lookup.length].note(lookup.guess, chosen)
            lookup.guess = []  # it was of this step

    def forget(self, sequence: Sequence) -> None:
        self._lookups.pop(sequence.number, None)


def _equal_before(tokens: list[int], place: int) -> int:
    """How many tokens before `place` are those at the end, as far as that is of interest."""
    length, end = SHORTEST, len(tokens)
    while length < LONGEST and length < place and tokens[place - 1 - length] == tokens[end - 1 - length]:
        length += 1
    return length


def _continued(tokens: list[int], place: int) -> list[int]:
    """What stands at `place` and after it; where that reaches the end, it goes round."""
    guess = tokens[place : place + MOST]
    period = len(guess)
    while len(guess) < MOST:
        guess.append(guess[-period])
    return guess

"""What a proposer of tokens promises. What it proposes is checked by the model itself: it changes speed, never text."""

from collections.abc import Sequence as Many
from typing import NamedTuple, Protocol

from ..sampler import Chooser
from ..sequence import Sequence


class Prospect(NamedTuple):
    """How many tokens could be proposed, and how likely each is right where all before it are."""

    most: int
    chance: float


NO_PROSPECT = Prospect(0, 0.0)


class Wanted(NamedTuple):
    """`most` tokens to follow `sequence`, which `chooser` chooses for."""

    sequence: Sequence
    chooser: Chooser
    most: int


class Proposer(Protocol):
    """Guesses what follows the tokens of a sequence. It is told of every token that was chosen after it was asked."""

    def prospect(self, sequence: Sequence) -> Prospect:
        """What there is to hope for. Asked once before each step that could take guesses."""
        ...

    def seconds(self, depth: int) -> float:
        """How long it takes to propose `depth` tokens for each sequence of a step."""
        ...

    def propose(self, wanted: Many[Wanted]) -> list[list[int]]:
        """Up to as many tokens as wanted, for each."""
        ...

    def heard(self, sequence: Sequence, guess: Many[int], chosen: Many[int]) -> None:
        """`chosen` were chosen where `guess` was proposed, or nothing was."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """Keep nothing of `sequence`: it ended, or was rolled back."""
        ...

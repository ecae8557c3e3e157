"""Which tokens may follow in one answer.

A guide follows its answer token by token, and may be led back. It has no text of its own: what is allowed it says in
bits, one a token, and what goes wrong in it stays in it until somebody asks for these.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher

Bits = NDArray[np.uint32]  # [rows, words]

WORD: Final = 32
ALL: Final = np.uint32(0xFFFFFFFF)


class Guide:
    """`matcher` is this answer's, over a vocabulary of `size` tokens and the library's end. `ends` end the answer; the
    `crew` asks many matchers at once.
    """

    def __init__(self, matcher: "LLMatcher", size: int, ends: Collection[int], crew: "LLExecutor") -> None:
        self.matcher = matcher
        self.crew = crew
        self.size = size
        self._ends = frozenset(ends)
        self._words = np.array([token // WORD for token in ends if token < size], dtype=np.intp)
        self._marks = np.array([1 << token % WORD for token in ends if token < size], dtype=np.uint32)

    @property
    def words(self) -> int:
        """How many words hold a bit for every token, and for the library's end."""
        return self.size // WORD + 1

    @property
    def is_complete(self) -> bool:
        """Nothing may follow but the end."""
        return self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def failure(self) -> str | None:
        """What went wrong in it."""
        return (self.matcher.get_error() or "no reason is known") if self.matcher.is_error() else None

    def saw(self, token: int) -> None:
        """Note a token that was chosen."""
        if token not in self._ends:
            self.matcher.consume_token(token)

    def forget(self, token: int) -> None:
        """Take back that `token` was chosen last."""
        if token not in self._ends:
            self.matcher.rollback(1)

    def possible(self, guess: Sequence[int]) -> int:
        """How many tokens of `guess` may follow, one after the other."""
        return self.matcher.validate_tokens(list(guess))

    def fill(self, bits: Bits, guesses: Sequence[Sequence[int]]) -> None:
        """A row of `bits` for what may follow each of `guesses`, each of which goes on from the one before.

        Behind a token that may not come everything may: nobody reads that.
        """
        for is_read, row in zip(self._after(guesses), bits, strict=True):
            if is_read:
                self.matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
                self.end(row)
            else:
                row[:] = ALL

    def allows(self, tokens: Sequence[int], guesses: Sequence[Sequence[int]]) -> list[bool]:
        """For each of `guesses`, whether its one of `tokens` may follow: what its row of bits says, and far cheaper."""
        places = zip(self._after(guesses), tokens, strict=True)
        return [not is_read or self._allows(token) for is_read, token in places]

    def _allows(self, token: int) -> bool:
        if forced := self.matcher.compute_ff_tokens():
            return forced[0] == token
        if self.matcher.validate_tokens([token]):
            return True
        return token in self._ends and bool(self.matcher.validate_tokens([self.size]))

    def _after(self, guesses: Sequence[Sequence[int]]) -> Iterator[bool]:
        """Stand after each of `guesses`, one after the other; False where nothing follows it, or it may not come."""
        taken = 0
        for guess in guesses:
            if taken < len(guess):
                taken += self.matcher.try_consume_tokens(list(guess[taken:]))
            yield taken == len(guess) and not (guess and self.matcher.is_stopped())
        if taken:
            self.matcher.rollback(taken)

    def end(self, row: Bits) -> None:
        """Let the answer's own ends follow where the library's may."""
        if row[self.size // WORD] >> np.uint32(self.size % WORD) & np.uint32(1):
            np.bitwise_or.at(row, self._words, self._marks)

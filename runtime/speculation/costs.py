"""How long a step takes, by the number of its rows: learned from the steps themselves.

A step reads all weights whatever it computes, so that a few more rows cost little, until arithmetic is the limit. Where
that is differs by machine, model and kernels, and by no smooth curve: so it is looked up, not modelled.
"""

from bisect import bisect_left
from collections import deque
from statistics import median_low

RECENT = 7  # steps of a number of rows that count
ENOUGH = 2  # steps until they count at all: the first one also sets things up
HOPE = 0.05  # of a step: what one more row costs as long as nobody knows
STALE = 512  # steps after which a number of rows that was not seen is tried again


class StepCosts:
    """Seconds by rows. What was never seen, or not for long, is taken to be cheap until it is tried."""

    def __init__(self) -> None:
        self._steps = 0
        self._recent: dict[int, deque[float]] = {}
        self._seen: dict[int, int] = {}
        self._known: list[int] = []
        self._typical: dict[int, float] = {}

    def note(self, rows: int, seconds: float) -> None:
        """A step of `rows` rows took `seconds`."""
        self._steps += 1
        place = place_of(rows)
        recent = self._recent.setdefault(place, deque(maxlen=RECENT))
        recent.append(seconds)
        self._seen[place] = self._steps
        if len(recent) >= ENOUGH:
            self._typical[place] = median_low(recent)
            self._known = sorted(self._typical)
        if self._steps % STALE == 0:
            self._drop_stale()

    def seconds(self, rows: int) -> float:
        """What a step of `rows` rows takes, in seconds once any is known."""
        place = place_of(rows)
        if place in self._typical:
            return self._typical[place]
        above = bisect_left(self._known, place)
        if not above:
            return self._typical[self._known[0]] if self._known else 1 + HOPE * place
        below = self._known[above - 1]
        hoped = self._typical[below] * (1 + HOPE * (place - below))
        return min(hoped, self._typical[self._known[above]]) if above < len(self._known) else hoped

    def _drop_stale(self) -> None:
        for place in [place for place, step in self._seen.items() if self._steps - step > STALE]:
            del self._seen[place], self._recent[place]
            self._typical.pop(place, None)
        self._known = sorted(self._typical)


def place_of(rows: int) -> int:
    """The number of rows that `rows` count as: small ones each alone, larger ones by twos, fours, eights and so on."""
    grain = 1 if rows <= 4 else 1 << (rows - 1).bit_length() - 2
    return -(-rows // grain) * grain

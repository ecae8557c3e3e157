"""What the server measures of its own answers: how long they waited, and how they were spread.

Counts and sums alone, so that whoever collects them can make rates and quantiles of them.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .asking import Piece

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)


@dataclass(slots=True)
class Histogram:
    """How many values were at most each of `bounds`, and more than all of them."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class Measures:
    """Of one model. Seconds from a request to its first computation, to its first token, from token to token, and to
    its end, and how many answers ended how.
    """

    queue: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    first_token: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    per_token: Histogram = field(default_factory=lambda: Histogram(TOKEN_SECONDS))
    whole: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    load: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    ended: dict[str, int] = field(default_factory=dict)

    def note(self, piece: Piece) -> None:
        """The last piece of an answer."""
        reason = piece.finish_reason or "error"
        self.ended[reason] = self.ended.get(reason, 0) + 1
        timings, usage = piece.timings, piece.usage
        if timings is None or usage is None or not usage.completion_tokens:
            return
        self.queue.note(timings.queued)
        self.first_token.note(timings.first_token)
        self.whole.note(timings.total)
        if usage.completion_tokens > 1:
            self.per_token.note((timings.total - timings.first_token) / (usage.completion_tokens - 1))

    def histograms(self) -> Mapping[str, Histogram]:
        """By the names they are told under."""
        return {
            "queue_seconds": self.queue,
            "time_to_first_token_seconds": self.first_token,
            "time_per_output_token_seconds": self.per_token,
            "request_seconds": self.whole,
            "load_seconds": self.load,
        }

"""What a comparison found, as rows for people and as data for programs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from ....registry.amounts import bytes_text
from .compare import Compared, Pairs

HEADINGS: Final = ("TEST", "PEER", "UNILLM", "PEER'S", "RATIO", "RANGE", "COUNTS")


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a token costs: the bytes of weights that are read for it, and the numbers it is multiplied with."""

    nbytes: int
    multiplied: int


def rows(compared: Compared) -> list[list[str]]:
    """A line a test and peer. Above 1 in RATIO, unillm is better."""
    return [row(pairs) for pairs in compared.pairs]


def row(pairs: Pairs) -> list[str]:
    return [
        pairs.trial.name,
        pairs.peer,
        _amount(pairs, pairs.ours),
        _amount(pairs, pairs.theirs),
        f"{pairs.ratio:.2f}",
        f"{min(pairs.ratios):.2f} - {max(pairs.ratios):.2f}",
        _counts(pairs),
    ]


def remarks(compared: Compared, weighed: Weighed) -> Iterator[str]:
    """Sentences below the table: how near the machine's limits, who is missing, what failed."""
    limits = compared.limits
    if limits.bandwidth and limits.int8:
        yield (
            f"this machine reads {limits.bandwidth / 1e9:.1f} GB/s and makes {limits.int8 / 1e9:.0f} int8 operations"
            f" a nanosecond on {limits.threads} threads"
        )
    yield from (f"{name}: {share:.0%} of {what}" for name, share, what in shares(compared, weighed))
    yield from (f"{peer} is not compared: {reason}" for peer, reason in compared.absent.items())
    yield from compared.failed


def shares(compared: Compared, weighed: Weighed) -> Iterator[tuple[str, float, str]]:
    """Of each test, the share of a limit that unillm's own median comes to."""
    seen = set()
    for pairs in compared.pairs:
        if pairs.trial.name in seen:
            continue
        seen.add(pairs.trial.name)
        figure, limits = median(pairs.ours), compared.limits
        if pairs.trial.counts == "answers" and pairs.trial.requests == 1 and limits.bandwidth:
            yield pairs.trial.name, figure * weighed.nbytes / limits.bandwidth, "the memory's bandwidth"
        if pairs.trial.counts == "prompts" and limits.int8:
            yield pairs.trial.name, 2 * figure * weighed.multiplied / limits.int8, "the int8 peak"


def as_data(compared: Compared, weighed: Weighed) -> dict[str, object]:
    return {
        "limits": asdict(compared.limits),
        "shares": [{"test": name, "share": share, "of": what} for name, share, what in shares(compared, weighed)],
        "pairs": [_pairs_as_data(pairs) for pairs in compared.pairs],
        "absent": dict(compared.absent),
        "failed": list(compared.failed),
    }


def _pairs_as_data(pairs: Pairs) -> dict[str, object]:
    return {
        "test": pairs.trial.name,
        "of": pairs.trial.about,
        "unit": pairs.trial.unit,
        "peer": pairs.peer,
        "ours": pairs.ours,
        "theirs": pairs.theirs,
        "median": [median(pairs.ours), median(pairs.theirs)],
        "ratio": pairs.ratio,
        "anchor": pairs.anchor,
        "counts": pairs.counts,
    }


def _amount(pairs: Pairs, values: tuple[float, ...]) -> str:
    middle = median(values)
    if pairs.trial.unit == "bytes":
        return bytes_text(int(middle))
    return f"{middle:.2f} s" if pairs.trial.unit == "s" else f"{middle:.1f} t/s"


def _counts(pairs: Pairs) -> str:
    """Whether the peer was itself: near what it does on a quiet machine."""
    if pairs.of_anchor is None:
        return "no anchor"
    return f"{'yes' if pairs.counts else 'not counted'}, {pairs.of_anchor:.0%} of its anchor"

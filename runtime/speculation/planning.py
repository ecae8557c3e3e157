"""How many tokens to guess for each sequence of a step: as many as make the step yield the most tokens a second."""

from collections.abc import Callable
from collections.abc import Sequence as Many

from .costs import place_of
from .proposer import Prospect

Seconds = Callable[[int], float]


def plan(prospects: Many[Prospect], *, seconds: Seconds, drafting: Seconds, most: int) -> list[int]:
    """A number a sequence, `most` together. The likeliest tokens are taken first, whosesoever they are.

    `seconds(rows)` is what a step takes, `drafting(depth)` what proposing takes. All 0 where guessing does not pay. Of
    large steps only some sizes are used, so that each is known well, and recorded once.
    """
    rows = len(prospects)
    likely = sorted(
        ((one.chance**depth, depth, i) for i, one in enumerate(prospects) for depth in range(1, one.most + 1)),
        key=lambda token: -token[0],
    )[:most]
    best, fastest = 0, rows / seconds(rows)
    yielded, deepest = float(rows), 0
    for count, (chance, depth, _) in enumerate(likely, 1):
        yielded, deepest = yielded + chance, max(deepest, depth)
        if place_of(rows + count) != rows + count:
            continue
        speed = yielded / (seconds(rows + count) + drafting(deepest))
        if speed > fastest:
            best, fastest = count, speed
    counts = [0] * rows
    for _, _, i in likely[:best]:
        counts[i] += 1
    return counts

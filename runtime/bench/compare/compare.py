"""Ours and theirs, turn by turn, to medians and ratios.

A round runs each trial of each peer next to a run of our own, so that whatever else the machine does falls on both. A
ratio is the median of the rounds' own ratios; above 1 we are better, whatever the unit.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

from ...errors import PeerFailed
from ..limits import Limits
from .anchors import NEAR
from .peer import Peer, Running
from .trials import Trial

Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Work:
    """What is run: the file, on so many threads, so many rounds. `anchors`: by a peer's name and a trial's."""

    file: Path
    threads: int
    rounds: int
    trials: Sequence[Trial]
    anchors: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Pairs:
    """One trial of one peer: a figure a round of either side."""

    trial: Trial
    peer: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    anchor: float | None = None

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def ratios(self) -> tuple[float, ...]:
        pairs = zip(self.ours, self.theirs, strict=True)
        return tuple(theirs / ours if self.trial.less_is_better else ours / theirs for ours, theirs in pairs)

    @property
    def of_anchor(self) -> float | None:
        """The peer's median as a share of what it does on a quiet machine."""
        return None if self.anchor is None else median(self.theirs) / self.anchor

    @property
    def counts(self) -> bool | None:
        """Whether nothing holds the peer back; on a faster machine it does better than its anchor, which is no fault.

        None: nobody has measured this peer on a quiet machine.
        """
        share = self.of_anchor
        return None if share is None else share >= 1 - NEAR


@dataclass(frozen=True, slots=True)
class Compared:
    """The result: pairs, why peers are missing, what failed, and what the machine can do at most."""

    pairs: tuple[Pairs, ...]
    absent: Mapping[str, str]
    failed: tuple[str, ...]
    limits: Limits
    cut: bool = False  # the user broke off: what is here was measured before


def compare(
    ours: Peer,
    peers: Sequence[Peer],
    work: Work,
    limits: Limits,
    tell: Tell,
    ended: Callable[[Pairs], None] = lambda _: None,
) -> Compared:
    """Every trial against every peer that is there. A trial that a peer fails is left out, with its reason.

    `ended` hears of each as it is done. Whoever interrupts gets what there is.
    """
    absent = {peer.name: reason for peer in peers if (reason := peer.absent(work.file))}
    pairs: list[Pairs] = []
    failed: list[str] = []
    cut = False
    try:
        for trial in work.trials:
            for peer in (one for one in peers if one.name not in absent and one.runs(trial)):
                try:
                    found = _beside(trial, ours, peer, work, tell)
                except PeerFailed as error:
                    failed.append(str(error))
                    continue
                if found is not None:
                    pairs.append(found)
                    ended(found)
    except KeyboardInterrupt:
        cut = True
    return Compared(tuple(pairs), absent, tuple(failed), limits, cut)


def _beside(trial: Trial, ours: Peer, peer: Peer, work: Work, tell: Tell) -> Pairs | None:
    with ExitStack() as stack:
        sides = [stack.enter_context(one.running(work.file, work.threads)) for one in (ours, peer)]
        return _alternate(trial, peer.name, sides, work, tell)


def _alternate(trial: Trial, peer: str, sides: Sequence[Running], work: Work, tell: Tell) -> Pairs | None:
    """Round by round; who goes first changes with each."""
    figures: tuple[list[float], list[float]] = ([], [])
    for number in range(work.rounds):
        tell(f"{trial.name} against {peer}: round {number + 1} of {work.rounds}")
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            figure = sides[side].figure(trial)
            if figure is None:
                return None
            figures[side].append(figure)
    return Pairs(trial, peer, tuple(figures[0]), tuple(figures[1]), work.anchors.get((peer, trial.name)))

"""Guesses from a smaller model that speaks the same tokens.

It runs on pages and a scheduler of its own. Each sequence has a mirror there, which takes over what was chosen, reads
on from there, and chooses as the sequence itself would: by the same chooser and the same chance, so that the closer the
two models are, the more often they agree, at any temperature. A mirror that waits for pages proposes nothing meanwhile.
"""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from ..errors import PoolTooSmall
from ..runner import Runner
from ..sampler import Row, Sample, sample
from ..scheduler import Chunk, Scheduler
from ..sequence import Sequence
from .chance import Chance
from .proposer import NO_PROSPECT, Prospect, Wanted

MOST = 8  # tokens at once
FIRST_CHANCE = 0.7
SMOOTH = 0.1  # what the latest step weighs in the time that one takes


@dataclass(slots=True, eq=False)
class Mirror:
    """A sequence as the draft has it: what is guessed beyond it, and how guesses fared."""

    sequence: Sequence
    guess: list[int] = field(default_factory=list)
    seen: int = 0  # tokens of the sequence that it can read
    chance: Chance = field(default_factory=lambda: Chance(FIRST_CHANCE))


class DraftProposer:
    """A model as a proposer, for sequences of up to `context` tokens of a `vocabulary`.

    Its own vocabulary may be padded to another size: what is beyond either is neither proposed nor read.
    """

    def __init__(self, scheduler: Scheduler, runner: Runner, *, context: int, vocabulary: int) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.context = context
        self._proposable = vocabulary
        self._readable: int = runner.model.config.vocabulary
        self._mirrors: dict[int, Mirror | None] = {}
        self._step_seconds = 0.0

    def prospect(self, sequence: Sequence) -> Prospect:
        room = self.context - len(sequence.tokens)
        mirror = self._mirror(sequence)
        if mirror is None or room <= 0 or max(sequence.tokens[mirror.seen :], default=0) >= self._readable:
            return NO_PROSPECT
        mirror.seen = len(sequence.tokens)
        return Prospect(min(MOST, room), mirror.chance.value)

    def seconds(self, depth: int) -> float:
        return depth * self._step_seconds

    def propose(self, wanted: Many[Wanted]) -> list[list[int]]:
        mirrors = [self._caught_up(one.sequence) for one in wanted]
        open_ones = {mirror.sequence.number: (mirror, one) for mirror, one in zip(mirrors, wanted, strict=True)}
        while open_ones and self._step(open_ones):
            pass
        return [mirror.guess for mirror in mirrors]

    def heard(self, sequence: Sequence, guess: Many[int], chosen: Many[int]) -> None:
        mirror = self._mirrors.get(sequence.number)
        if mirror is None:
            return
        if guess:
            mirror.chance.note(guess, chosen)
        else:
            mirror.chance.fade()

    def forget(self, sequence: Sequence) -> None:
        mirror = self._mirrors.pop(sequence.number, None)
        if mirror is not None:
            self.scheduler.finish(mirror.sequence)

    def _mirror(self, sequence: Sequence) -> Mirror | None:
        """None for a sequence that the draft can never hold."""
        if sequence.number not in self._mirrors:
            self._mirrors[sequence.number] = self._begun(sequence)
        return self._mirrors[sequence.number]

    def _begun(self, sequence: Sequence) -> Mirror | None:
        if len(sequence.tokens) >= self.context or max(sequence.tokens) >= self._readable:
            return None
        mirrored = Sequence(sequence.number, list(sequence.tokens), min(sequence.limit, self.context))
        try:
            self.scheduler.add(mirrored)
        except PoolTooSmall:
            return None
        return Mirror(mirrored)

    def _caught_up(self, sequence: Sequence) -> Mirror:
        """The mirror of `sequence` with its tokens, and none that were guessed wrong."""
        mirror = self._mirrors[sequence.number]
        if mirror is None:
            raise AssertionError(f"sequence {sequence.number} has no mirror")
        mirror.guess = []
        mirrored, tokens = mirror.sequence.tokens, sequence.tokens
        same = min(len(mirrored), len(tokens))
        while mirrored[:same] != tokens[:same]:
            same -= 1
        self.scheduler.rewrite(mirror.sequence, same, tokens[same:])
        return mirror

    @torch.inference_mode()
    def _step(self, open_ones: dict[int, tuple[Mirror, Wanted]]) -> bool:
        """One step of the draft. True when it brought some of these on, and another one would."""
        started = perf_counter()
        chunks = self.scheduler.next_step()
        if not chunks:
            return False
        scores = self.runner.run(chunks)
        last = [chunk for chunk in chunks if chunk.is_last]
        for chunk in chunks:
            self.scheduler.advance(chunk)
        came_on = scores is not None and self._choose(scores, last, open_ones)
        if all(chunk.count <= 2 for chunk in chunks):
            self._timed(perf_counter() - started)
        return came_on and len(last) == len(chunks)

    def _choose(self, scores: Tensor, chunks: Many[Chunk], open_ones: dict[int, tuple[Mirror, Wanted]]) -> bool:
        """The next token of each guess that is still open. The last one of a guess is not read any more."""
        picked = [i for i, chunk in enumerate(chunks) if chunk.sequence.number in open_ones]
        if not picked:
            return False
        asked = [open_ones[chunks[i].sequence.number] for i in picked]
        rows = [
            Row(one.chooser.silent().after(mirror.guess), len(mirror.sequence.tokens), mirror.guess)
            for mirror, one in asked
        ]
        for (mirror, one), chosen in zip(asked, sample(scores[picked, : self._proposable], rows), strict=True):
            if isinstance(chosen, Sample):
                mirror.guess.append(chosen.token)
            if not isinstance(chosen, Sample) or len(mirror.guess) >= one.most:
                del open_ones[mirror.sequence.number]
            else:
                mirror.sequence.tokens.append(chosen.token)
        return True

    def _timed(self, seconds: float) -> None:
        before = self._step_seconds or seconds
        self._step_seconds = before + SMOOTH * (min(seconds, 2 * before) - before)

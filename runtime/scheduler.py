"""Which sequences run next, and with how many tokens.

A step mixes both kinds of work under one token budget: every sequence in its decode gets its one token, and what is
left goes to prompts, in chunks. The scheduler counts tokens and pages; it knows neither tensors nor text.

Fairness: half of the prompt budget is the eldest prompt's, so that nobody waits for ever; the rest goes to the shortest
first, so that a short request does not stand behind a long one. A sequence that waits for pages may be overtaken a
bounded number of times. A higher priority goes before all of this: its sequences come first, and those of a lower one
give way to them. Pages for a whole prompt are taken at once, as far as windows reach, then one by one; when there are
none left, the youngest gives way and comes back before all that came later. A chunk whose window must move on over
pages that others hold is as long as there are pages for it.
"""

from bisect import insort
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace

from .errors import InvalidParameter, PoolTooSmall
from .kv.pages import Lease, PageCache
from .kv.slots import STRIDE
from .kv.swap import Swap
from .sequence import Sequence, State
from .waiting import WaitingLine

NOTHING = range(0)
PATIENCE = 64  # how often a sequence that waits for pages is overtaken before all wait for it


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `count` tokens of `sequence`, from `start` on; the last may be a `guess` of what will follow it."""

    sequence: Sequence
    start: int
    count: int
    guess: tuple[int, ...] = ()

    @property
    def stop(self) -> int:
        return self.start + self.count

    @property
    def is_last(self) -> bool:
        """Nothing of the sequence is left to compute after this chunk."""
        return self.start + self.count - len(self.guess) == len(self.sequence.tokens)

    @property
    def tokens(self) -> list[int]:
        return [*self.sequence.tokens[self.start : self.stop - len(self.guess)], *self.guess]

    @property
    def plain(self) -> "Chunk":
        """This chunk without its guess."""
        return replace(self, count=self.count - len(self.guess), guess=())

    @property
    def wanted(self) -> range:
        """The tokens whose scores somebody wants."""
        stop = self.start + self.count
        if self.sequence.scored_from is not None:
            return range(max(self.start, self.sequence.scored_from), stop)
        return range(stop - len(self.guess) - 1, stop) if self.is_last else NOTHING


class Scheduler:
    """Requests wait, run and finish here. `batch_tokens` bounds a step, `sequences` how many run at once."""

    def __init__(self, cache: PageCache, *, batch_tokens: int, sequences: int, swap: Swap | None = None) -> None:
        if not 0 < sequences < batch_tokens:
            raise InvalidParameter(
                "batch_tokens", batch_tokens, f"more than the {sequences} sequences that run at once"
            )
        self.cache = cache
        self.swap = swap
        self.batch_tokens = batch_tokens
        self.sequences = sequences
        self.running: list[Sequence] = []  # by rank: those of a priority together, eldest first
        self.waiting = WaitingLine()
        self.gave_way = 0
        self._rows = list(range(sequences))[::-1]

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Put `sequence` at the end of the line; raises `PoolTooSmall` for one that could not even run alone."""
        cached = sequence.limit - sequence.chooses  # the last token chosen needs no place
        if self.cache.needed(cached) > self.cache.pages:
            raise PoolTooSmall(cached, self.cache.capacity)
        self._line_up(sequence)

    def next_step(self) -> list[Chunk]:
        """What to compute now: decodes first, then prompts. Empty when nothing waits or runs."""
        self._let_in_urgent()
        chunks = self._decodes()
        chunks += self._prompts(self.batch_tokens - len(chunks))
        while not chunks and any(s.pending for s in self.running):  # windows of prompts stand in each other's way
            self._give_way(self.running[-1])
            chunks = self._prompts(self.batch_tokens)
        return chunks

    def with_guess(self, chunk: Chunk, guess: Many[int]) -> Chunk:
        """`chunk`, and as much of a `guess` of what follows as there is room for that nobody else may want soon."""
        sequence = chunk.sequence
        lease = _lease(sequence)
        if lease.state is not None:  # what a wrong guess did to it could not be undone
            return chunk
        if chunk.stop + len(guess) > lease.room:
            cached = self.cache.idle  # not to be taken for a guess
            self.cache.make_room(lease, chunk.start, chunk.stop + len(guess), spare=self._spare + cached)
        kept = tuple(guess[: max(lease.room - chunk.stop, 0)])
        return replace(chunk, count=chunk.count + len(kept), guess=kept)

    def advance(self, chunk: Chunk, guessed: int = 0) -> None:
        """Note that `chunk` was computed, `guessed` tokens of its guess being right. Full pages of prompts are shared
        from now on; what was guessed wrong will be written over.
        """
        stop = chunk.stop - len(chunk.guess) + guessed
        chunk.sequence.computed = stop
        chunk.sequence.read_to(stop)
        lease = _lease(chunk.sequence)
        if lease.state is not None:
            self.cache.keep_state(lease, chunk.sequence.tokens, stop, ends_chunk=chunk.count > 1)
        self._share(chunk, stop, lease)

    def set_off(self, chunk: Chunk) -> Lease:
        """Note that `chunk`, which carries no guess, is on its way: on which pages. What follows it may be planned."""
        chunk.sequence.set_off(chunk.count, chooses=chunk.is_last)
        return _lease(chunk.sequence)

    def arrive(self, chunk: Chunk, lease: Lease) -> None:
        """Note that `chunk` came to something, on the pages of `lease`: which may be others' by now."""
        is_there = lease is chunk.sequence.lease
        if is_there:
            chunk.sequence.ahead -= chunk.count
        self._share(chunk, chunk.stop, lease if is_there else None)

    def truncate(self, sequence: Sequence, tokens: int) -> None:
        """Roll `sequence` back to its first `tokens` tokens, the whole prompt at least, in whatever state it is."""
        self.rewrite(sequence, tokens, ())

    def rewrite(self, sequence: Sequence, start: int, tokens: Many[int]) -> None:
        """Put `tokens` in place of all that `sequence` has from `start` on, which is not within its prompt.

        Where that cuts into pages that are shared with others, or a token would see what has left a window or follow
        a state that is past, it goes back to the line, and finds there what is left of its prefix.
        """
        if not sequence.num_prompt <= start <= len(sequence.tokens):
            raise AssertionError(f"{start} tokens are not between the prompt and the end of sequence {sequence.number}")
        kept = min(sequence.computed, start, start + len(tokens) - 1)  # the last one's scores are wanted, again or yet
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING and not self._holds(sequence, kept):
            self._vacate(sequence, trusted=True)
            kept, sequence.state = 0, State.WAITING
        sequence.tokens[start:] = tokens
        sequence.computed = kept
        if sequence.state is State.WAITING:
            self.waiting.push(sequence)
        elif sequence.state is State.RUNNING:
            self.cache.shorten(_lease(sequence), self.cache.pages_for(len(sequence.tokens)))

    def finish(self, sequence: Sequence, *, trusted: bool = True) -> None:
        """Take `sequence` out, in whatever state it is. What it computed stays in the cache if it can be `trusted`."""
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING:
            self._vacate(sequence, trusted=trusted)
        if self.swap is not None:
            self.swap.drop(sequence.number)
        sequence.state = State.FINISHED
        self._let_follow(sequence)

    def _share(self, chunk: Chunk, stop: int, lease: Lease | None) -> None:
        """The sequence is computed up to `stop`: others may find it, and need not wait for it any more."""
        if lease is not None and chunk.count > 1 and not chunk.guess:
            self.cache.commit(lease, chunk.sequence.tokens, stop)
        if self.waiting and chunk.start < chunk.sequence.num_prompt <= stop:
            self._let_follow(chunk.sequence)

    def _line_up(self, sequence: Sequence) -> None:
        """Put `sequence` in the line, or behind one that computes the same prompt and will leave it pages of it."""
        leader = sequence.leader
        is_ahead = leader is not None and (leader.state is State.RUNNING or leader in self.waiting)
        shared = sequence.reusable // self.cache.page_size if self.cache.shares else 0
        if leader is not None and is_ahead and shared and leader.computed - leader.ahead < leader.num_prompt:
            self.waiting.hold(sequence, leader)
        else:
            self.waiting.push(sequence)

    def _let_follow(self, leader: Sequence) -> None:
        """The prompt of `leader` is computed, or will not be: then the first of those behind it leads the others."""
        followers = self.waiting.let_go(leader)
        for sequence in followers:
            if leader.state is State.FINISHED and sequence is not followers[0]:
                sequence.leader = followers[0]
            self._line_up(sequence)

    def _holds(self, sequence: Sequence, start: int) -> bool:
        """Whether what token `start` sees is there, and its own page nobody else's."""
        lease = _lease(sequence)
        if lease.state is not None and start < sequence.computed:
            return False
        return start >= lease.shared * self.cache.page_size and self.cache.covers(lease, start)

    def check(self) -> None:
        """Raise `AssertionError` unless every page and every row is accounted for."""
        self.cache.check(_lease(sequence) for sequence in self.running)
        rows = sorted([*self._rows, *(sequence.row for sequence in self.running)])
        if rows != list(range(self.sequences)):
            raise AssertionError("a row of the page table has no owner, or two")

    def _let_in_urgent(self) -> None:
        """Let in who has a higher priority than some that run. The last of these give way, where that makes room."""
        while (
            (first := self.waiting.first()) is not None and self.running and self.running[-1].priority < first.priority
        ):
            if self._admit(first):
                continue
            stay = [sequence for sequence in self.running if sequence.priority >= first.priority]
            held = sum(len(_lease(sequence).pages) for sequence in stay)
            wanted = self.cache.needed(len(first.tokens)) + len(stay) * len(self.cache.groups)
            if len(stay) == self.sequences or held + wanted > self.cache.pages:
                return
            self._give_way(self.running[-1])

    def _decodes(self) -> list[Chunk]:
        """A token for each that has only its latest one to compute. Making room for it may end a younger one's turn."""
        return [
            Chunk(sequence, sequence.computed, 1)
            for sequence in [s for s in self.running if s.pending == 1]
            if sequence.state is State.RUNNING and self._make_room(sequence)
        ]

    def _make_room(self, sequence: Sequence) -> bool:
        """See that the next token has a page. The youngest give way for it; False when that was `sequence` itself."""
        lease = _lease(sequence)
        start = sequence.computed
        while start >= lease.room and self.cache.make_room(lease, start, start + 1) == start:
            youngest = self.running[-1]
            self._give_way(youngest)
            if youngest is sequence:
                return False
        return True

    def _give_way(self, sequence: Sequence) -> None:
        """Back into the line. Its full pages stay in the tree until taken: it mostly finds them, or a copy, again."""
        if self.swap is not None:
            self.swap.save(sequence.number, _lease(sequence), sequence.computed)
        self._vacate(sequence, trusted=True)
        sequence.computed = 0
        sequence.state = State.WAITING
        self.waiting.push(sequence)
        self.gave_way += 1

    def _vacate(self, sequence: Sequence, *, trusted: bool) -> None:
        lease = _lease(sequence)
        self.running.remove(sequence)
        self._rows.append(sequence.row)
        if trusted:
            self.cache.commit(lease, sequence.tokens, sequence.computed - sequence.ahead)
            self.cache.release(lease)
        else:
            self.cache.discard(lease)
        sequence.lease, sequence.row, sequence.ahead = None, -1, 0

    def _prompts(self, budget: int) -> list[Chunk]:
        started = [sequence for sequence in self.running if sequence.pending > 1]
        eldest, stuck = self._eldest(started)
        others = sorted((s for s in started if s is not eldest), key=lambda s: (s.priority, -s.pending, -s.number))
        kept = 0 if eldest is None else self._chunk(eldest, budget - budget // 2).count
        chunks, left = self._shortest_first(others, budget - kept, stuck)
        if eldest is not None:
            chunks.insert(0, self._chunk(eldest, kept + left))
        return [chunk for chunk in chunks if chunk.count]

    def _chunk(self, sequence: Sequence, most: int) -> Chunk:
        """The next tokens of a prompt, `most` at most, and no more than there are pages for: perhaps none."""
        start, lease = sequence.computed, _lease(sequence)
        count = min(sequence.pending, most)
        if lease.state is not None and count > 1:
            count = self._before_snapshot(sequence, start, start + count) - start
        if start + count > lease.room:
            count = min(count, self.cache.make_room(lease, start, start + count, spare=self._spare) - start)
        return Chunk(sequence, start, count)

    def _before_snapshot(self, sequence: Sequence, start: int, stop: int) -> int:
        """Where a chunk ends so that a snapshot of its state can be kept: every so often, and where the whole of the
        sequence could be found again.
        """
        page = self.cache.page_size
        stride = STRIDE * page
        wanted = ((start // stride + 1) * stride, sequence.reusable // page * page)
        return min([stop, *(place for place in wanted if place > start)])

    @property
    def _spare(self) -> int:
        """Pages by which those that run may want to grow soon."""
        return len(self.running) * len(self.cache.groups)

    def _eldest(self, started: list[Sequence]) -> tuple[Sequence | None, Sequence | None]:
        """The eldest prompt that can run, and the one that should but cannot be let in yet."""
        eldest = started[0] if started else None
        first = self.waiting.first()
        if first is None or (eldest is not None and eldest.rank < first.rank):
            return eldest, None
        return (first, None) if self._admit(first) else (eldest, first)

    def _shortest_first(self, started: list[Sequence], budget: int, stuck: Sequence | None) -> tuple[list[Chunk], int]:
        """Chunks for the shortest of `started` (longest first) and of the line, and the budget they leave."""
        chunks: list[Chunk] = []
        while budget:
            sequence = self._admit_shorter(started[-1] if started else None, stuck)
            if sequence is None:
                if not started:
                    break
                sequence = started.pop()
            chunks.append(self._chunk(sequence, budget))
            budget -= chunks[-1].count
        return chunks, budget

    def _admit_shorter(self, other: Sequence | None, stuck: Sequence | None) -> Sequence | None:
        """Let in the shortest, if it goes before `other`, fits, and does not pass `stuck` once too often."""
        shortest = self.waiting.shortest()
        if shortest is None or shortest is stuck:
            return None
        if other is not None and (-shortest.priority, len(shortest.tokens)) >= (-other.priority, other.pending):
            return None
        if stuck is not None and stuck.overtaken >= PATIENCE:
            return None
        if not self._admit(shortest):
            return None
        if stuck is not None:
            stuck.overtaken += 1
        return shortest

    def _admit(self, sequence: Sequence) -> bool:
        """Give `sequence` a row and pages for all its tokens, and leave a page for each that runs to grow by."""
        if not self._rows or (self.running and self.cache.must_yield):
            return False
        lease = self.cache.lease(sequence.tokens, reusable=sequence.reusable, spare=self._spare)
        if lease is None:
            return False
        computed = self._bring_back(sequence, lease)
        if computed is None:
            self.cache.release(lease)
            return False
        self.waiting.remove(sequence)
        sequence.lease, sequence.row, sequence.state = lease, self._rows.pop(), State.RUNNING
        sequence.computed = computed
        if sequence.cached is None:
            sequence.cached = sequence.computed
        insort(self.running, sequence, key=lambda s: s.rank)
        return True

    def _bring_back(self, sequence: Sequence, lease: Lease) -> int | None:
        """How many tokens of `sequence` are computed, with what was kept of it; None when its windows have no room."""
        shared = lease.shared * self.cache.page_size
        saved = None if self.swap is None else self.swap.find(sequence.number)
        if self.swap is None or saved is None:
            return shared
        computed = min(saved.computed, sequence.reusable)
        wanted = self.cache.unseen(lease, computed)
        if computed > shared and saved.reaches(computed, wanted):
            if self.cache.make_room(lease, computed, computed + 1) <= computed:
                return None
            if self.swap.restore(saved, lease.tables, wanted):
                shared = computed
        self.swap.drop(sequence.number)
        return shared


def _lease(sequence: Sequence) -> Lease:
    if sequence.lease is None:
        raise AssertionError(f"sequence {sequence.number} runs without pages")
    return sequence.lease

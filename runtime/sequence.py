"""One sequence of tokens on its way through the scheduler. It knows counts and ids, neither tensors nor text."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from .kv.pages import Lease

UNREAD: Final = -1  # in the place of a token that was chosen, but not read from the device yet


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt, and what was chosen after it.

    It ends when a token of `ends` is chosen or when `tokens` has `limit` of them; one that chooses none is done when
    all of it is computed. `computed` tokens have their keys and values in the pages of `lease`. `scored_from` asks for
    the scores of every token of the prompt from that one on, and moves with what was read of them.

    A device may be a step behind: then the last `unread` tokens are not known yet, and of what is `computed` the last
    `ahead` tokens are on their way.
    """

    number: int  # of arrival: the higher, the younger
    tokens: list[int]
    limit: int
    ends: Collection[int] = ()
    scored_from: int | None = None
    chooses: bool = True
    priority: int = 0
    state: State = State.WAITING
    computed: int = 0
    cached: int | None = None  # prompt tokens found in the cache when it first ran
    overtaken: int = 0  # how many younger ones were let in before it while it waited for pages
    row: int = -1  # of the runner's page table
    proposed: int = 0  # tokens that were guessed before they were chosen
    accepted: int = 0  # those of them that were chosen then
    unread: int = 0
    ahead: int = 0
    lease: Lease | None = None
    leader: "Sequence | None" = None  # has the same prompt, and computes it for this one too
    num_prompt: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.tokens)

    @property
    def rank(self) -> tuple[int, int]:
        """Its place among all: a higher priority first, then who came first."""
        return -self.priority, self.number

    @property
    def pending(self) -> int:
        """Tokens still to be computed before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def reusable(self) -> int:
        """How many tokens may come from the cache: the last one must be computed, its scores are wanted."""
        last = len(self.tokens) - 1
        return last if self.scored_from is None else min(self.scored_from, last)

    @property
    def num_completion(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def known(self) -> list[int]:
        """Its tokens, as far as they were read."""
        return self.tokens[: len(self.tokens) - self.unread] if self.unread else self.tokens

    @property
    def is_full(self) -> bool:
        return len(self.tokens) - self.unread >= self.limit

    def set_off(self, count: int, *, chooses: bool) -> None:
        """The next `count` tokens are on their way. What is chosen after them takes its place now; not where it is the
        last one, for then there is nothing to prepare for.
        """
        self.computed += count
        self.ahead += count
        if chooses and len(self.tokens) + 1 < self.limit:
            self.tokens.append(UNREAD)
            self.unread += 1

    def read(self, token: int) -> None:
        """`token` was chosen: it is the first that was not read yet, or comes behind all others."""
        if self.unread:
            self.tokens[-self.unread] = token
            self.unread -= 1
        else:
            self.tokens.append(token)

    def call_back(self) -> None:
        """What is on its way counts for nothing, even where an interrupt came while it was noted."""
        self.computed -= self.ahead
        self.ahead = self.unread = 0
        while self.tokens[-1] == UNREAD:
            self.tokens.pop()

    def read_to(self, stop: int) -> None:
        """The scores of the tokens before `stop` were read: nobody wants them again, even after giving way."""
        if self.scored_from is not None:
            self.scored_from = max(self.scored_from, stop) if stop < self.num_prompt else None

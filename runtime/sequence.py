"""One sequence of tokens on its way through the scheduler. It knows counts and ids, neither tensors nor text."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from .kv.pages import Lease


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt, and what was chosen after it.

    It ends when a token of `ends` is chosen or when `tokens` has `limit` of them. `computed` tokens have their keys and
    values in the pages of `lease`. `scored_from` asks for the scores of every token from that one on instead of a next
    token: such a sequence is done when all of it is computed.
    """

    number: int  # of arrival: the higher, the younger
    tokens: list[int]
    limit: int
    ends: Collection[int] = ()
    scored_from: int | None = None
    state: State = State.WAITING
    computed: int = 0
    cached: int | None = None  # prompt tokens found in the cache when it first ran
    overtaken: int = 0  # how many younger ones were let in before it while it waited for pages
    row: int = -1  # of the runner's page table
    lease: Lease | None = None
    num_prompt: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.tokens)

    @property
    def pending(self) -> int:
        """Tokens still to be computed before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def reusable(self) -> int:
        """How many tokens may come from the cache: the last one must be computed, its scores are wanted."""
        return len(self.tokens) - 1 if self.scored_from is None else self.scored_from

    @property
    def num_completion(self) -> int:
        return len(self.tokens) - self.num_prompt

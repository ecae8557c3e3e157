"""How a server does under a load: times as clients see them, and what all together got out of it a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, median
from typing import Final

import httpx
import msgspec

from ...errors import PeerFailed, ServerRefused, ServerUnreachable
from .asking import Answered, Asker
from .load import Load, drive

_TO_CONNECT: Final = 10.0  # seconds; an answer may take as long as it likes


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds of many requests."""

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def p50(self) -> float:
        return median(self.values)

    @property
    def p99(self) -> float:
        """The value that 99 of 100 do not pass: the nearest rank."""
        ranked = sorted(self.values)
        return ranked[min(len(ranked) - 1, -(-len(ranked) * 99 // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a load in `seconds`. `answers` are those that came; `faults` say why others did not."""

    load: Load
    seconds: float
    answers: tuple[Answered, ...]
    faults: tuple[str, ...]

    @property
    def spreads(self) -> tuple[Spread, ...]:
        per_token = (one.per_token for one in self.answers)
        return (
            Spread("first token", tuple(one.first for one in self.answers)),
            Spread("time per token", tuple(time for time in per_token if time is not None)),
            Spread("whole answer", tuple(one.whole for one in self.answers)),
        )

    @property
    def prompt_tokens(self) -> int:
        return sum(one.prompt_tokens for one in self.answers)

    @property
    def answer_tokens(self) -> int:
        return sum(one.answer_tokens for one in self.answers)

    @property
    def answers_per_second(self) -> float:
        """Tokens of answers."""
        return self.answer_tokens / self.seconds

    @property
    def tokens_per_second(self) -> float:
        """Those of prompts too."""
        return (self.prompt_tokens + self.answer_tokens) / self.seconds

    @property
    def requests_per_second(self) -> float:
        return len(self.answers) / self.seconds


@dataclass(frozen=True, slots=True)
class Target:
    """A server: the address before `/completions`, its key if it wants one, and a model it has."""

    url: str
    model: str | None = None
    key: str | None = None
    chat: bool = False


def measure(target: Target, load: Load, tell: Callable[[int, int], None]) -> Served:
    """Put the load on the server, after a few requests that do not count. `tell` hears how many of how many are done.

    Raises `ServerUnreachable`, `ServerRefused`, and `PeerFailed` where not a single answer came.
    """
    with _connected(target) as http:
        model = target.model or _first_model(http)
        asker = Asker(http, model, load.answer_tokens, load.prompt_tokens, target.chat).fitted(load.prompt_tokens)
        done = count(1)

        def ask(number: int) -> Answered:
            answered = asker.ask(number)
            tell(next(done), load.requests)
            return answered

        outcomes, seconds = drive(load, ask)
    return _served(target, load, seconds, outcomes)


def _connected(target: Target) -> httpx.Client:
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    timeout = httpx.Timeout(None, connect=_TO_CONNECT)
    return httpx.Client(base_url=f"{target.url}/", headers=headers, timeout=timeout, limits=limits, trust_env=False)


def _served(target: Target, load: Load, seconds: float, outcomes: Sequence[Answered]) -> Served:
    faults = [_fault(one) for one in outcomes]
    answers = tuple(one for one, fault in zip(outcomes, faults, strict=True) if fault is None)
    failed = tuple(fault for fault in faults if fault is not None)
    if not answers:
        raise PeerFailed(target.url, "no request was answered", failed[0])
    return Served(load, seconds, answers, failed)


def _fault(answered: Answered) -> str | None:
    return answered.fault if answered.fault or answered.answer_tokens else "the answer has no token"


def _first_model(http: httpx.Client) -> str:
    """Of those that the server lists."""
    try:
        response = http.get("models")
    except httpx.HTTPError as error:
        raise ServerUnreachable(str(http.base_url), str(error) or type(error).__name__) from error
    try:
        listed = msgspec.json.decode(response.content, type=_Models).data
    except msgspec.MsgspecError:
        listed = []
    if not listed:
        raise ServerRefused("not_found", "the server lists no model", "name one", response.status_code)
    return listed[0].id


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model] = []

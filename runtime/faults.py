"""Faults on purpose: a switch for finding out what an engine does when its parts fail.

Each fault names a place, and what happens there. It is put in front of the engine's own methods when the engine is
made, and then only: an engine without faults has nothing of this in it, and its parts know nothing of this file.

    Engine.load("smollm2:135m", faults=read_faults("forward=memory,after=20,times=1; logits=nan,request=3"))
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from functools import wraps
from itertools import count
from math import inf, nan
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar, get_args

from .errors import InjectedFault, InvalidParameter

if TYPE_CHECKING:  # the door reads faults before it loads torch
    from torch import Tensor

    from .desk import Desk, Entry
    from .grammar.compiler import Grammars
    from .scheduler import Chunk
    from .text.template import ChatTemplate
    from .text.tokenizer import Tokenizer
    from .wheel import Wheel

Place: TypeAlias = Literal[
    "encode",
    "render",
    "decode",
    "callback",
    "compile",
    "mask",
    "plan",
    "forward",
    "logits",
    "sample",
    "propose",
    "allocate",
    "save",
    "restore",
]
Kind: TypeAlias = Literal["error", "memory", "device-memory", "nan", "inf", "stall"]
Part = TypeVar("Part")

_NUMBERS: Final = {"nan": nan, "inf": inf}
_FORM: Final = "PLACE[=KIND][,request=N][,after=N][,times=N][,above=N][,seconds=S], several apart by semicolons"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at `place`: it raises, memory runs out there, scores are no numbers, it sleeps for `seconds`.

    It strikes where `request` is concerned (the number in its id; None: any), and more than `above` requests are
    computed together; not the first `after` times, and then `times` times (None: always).
    """

    place: Place
    kind: Kind = "error"
    request: int | None = None
    after: int = 0
    times: int | None = None
    above: int = 0
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.place not in get_args(Place):
            raise InvalidParameter("faults", self.place, f"at one of {', '.join(get_args(Place))}")
        if self.kind not in get_args(Kind):
            raise InvalidParameter("faults", self.kind, f"one of {', '.join(get_args(Kind))}")
        if (self.kind in _NUMBERS) != (self.place == "logits"):
            raise InvalidParameter("faults", f"{self.place}={self.kind}", "nan or inf at logits, and there only")

    @classmethod
    def parse(cls, text: str) -> Self:
        """One fault as people write it: `forward=memory,after=3`. At logits it is nan unless said."""
        first, *rest = (part.strip() for part in text.split(","))
        place, _, kind = first.partition("=")
        given: dict[str, Any] = {"place": place, "kind": kind or ("nan" if place == "logits" else "error")}
        known = {one.name for one in fields(cls)} - given.keys()
        for part in rest:
            name, _, value = part.partition("=")
            try:
                given[name] = float(value) if name == "seconds" else int(value)
            except ValueError:
                known.discard(name)
            if name not in known:
                raise InvalidParameter("faults", text, _FORM)
        return cls(**given)


def read_faults(text: str) -> tuple[Fault, ...]:
    """The faults that `text` names, apart by semicolons; raises `InvalidParameter` where it names none."""
    return tuple(Fault.parse(part) for part in text.split(";") if part.strip())


@dataclass(slots=True, eq=False)
class _Armed:
    """A fault, and how often its place was passed. Counting is safe in several threads."""

    fault: Fault
    passes: Iterator[int] = field(default_factory=count)

    def strikes(self, requests: Iterable[int]) -> bool:
        """Whether it is to happen to these requests now."""
        numbers = set(requests)
        fault = self.fault
        if (fault.above and len(numbers) <= fault.above) or fault.request not in (None, *numbers):
            return False
        passed = next(self.passes) - fault.after
        return passed >= 0 and (fault.times is None or passed < fault.times)

    def happen(self) -> None:
        if self.fault.kind == "stall":
            sleep(self.fault.seconds)
            return
        raise _error(self.fault)


class Faults:
    """The faults of one engine, to be put into its parts."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._armed = [_Armed(fault) for fault in faults]
        self._served: tuple[int, ...] = ()  # the request whose outcome is being taken
        self._computed: tuple[int, ...] = ()  # those whose chunks were run last

    def into_engine(self, wheel: "Wheel", desk: "Desk") -> None:
        """Also into whatever is handed in from now on."""
        self._into_wheel(wheel)
        self._into_desk(desk)

    def into_tokenizer(self, tokenizer: "Tokenizer") -> "Tokenizer":
        """Another one over the same vocabulary."""
        faulty = copy(tokenizer)
        for method in ("encode", "encode_quoted"):
            self._before(faulty, method, "encode", lambda *_, **__: ())
        for method in ("decode", "spelt", "token"):
            self._before(faulty, method, "decode", lambda *_, **__: self._served)
        return faulty

    def into_template(self, template: "ChatTemplate") -> "ChatTemplate":
        faulty = copy(template)
        self._before(faulty, "render", "render", lambda *_, **__: ())
        return faulty

    def into_grammars(self, grammars: "Grammars") -> None:
        self._before(grammars, "guide", "compile", lambda *_: ())

    def _into_wheel(self, wheel: "Wheel") -> None:
        self._before(wheel.scheduler, "next_step", "plan", lambda *_: ())
        self._before(wheel.runner, "run", "forward", self._computing)
        self._after_run(wheel)
        self._before(wheel, "sample", "sample", lambda *_: self._computed)
        if wheel.speculator is not None:
            self._before(wheel.speculator.proposer, "propose", "propose", lambda *_: ())
        self._before(wheel.runner.pool, "commit", "allocate", lambda *_: ())
        self._before(wheel.runner.pool, "save", "save", lambda *_: ())
        self._before(wheel.runner.pool, "bring", "restore", lambda *_: ())

    def _into_desk(self, desk: "Desk") -> None:
        plain = desk.hand_in

        @wraps(plain)
        def faulty(entries: "Iterable[Entry]") -> None:
            entries = list(entries)
            for asker, chooser in entries:
                self._watch(asker)
                if chooser is not None and chooser.guide is not None:
                    self._before(chooser.guide, "end", "mask", _of(asker.sequence.number))
            plain(entries)

        _put(desk, "hand_in", faulty)

    def _computing(self, chunks: "Sequence[Chunk]") -> tuple[int, ...]:
        self._computed = tuple(chunk.sequence.number for chunk in chunks)
        return self._computed

    def _after_run(self, wheel: "Wheel") -> None:
        plain = wheel.runner.run

        @wraps(plain)
        def faulty(chunks: "Sequence[Chunk]") -> "Tensor | None":
            logits = plain(chunks)
            start = 0
            for chunk in chunks if logits is not None else ():
                rows = slice(start, start + len(chunk.wanted))
                start = rows.stop
                for armed in self._at("logits") if rows.stop > rows.start else ():
                    if logits is not None and armed.strikes([chunk.sequence.number]):
                        logits[rows] = _NUMBERS[armed.fault.kind]
            return logits

        _put(wheel.runner, "run", faulty)

    def _watch(self, asker: Any) -> None:
        number: int = asker.sequence.number
        for method in ("take", "end"):
            _put(asker, method, self._serving(number, getattr(asker, method)))
        self._before(asker, "take", "callback", lambda _: (number,))

    def _serving(self, number: int, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def serving(*args: Any, **named: Any) -> Any:
            before, self._served = self._served, (number,)
            try:
                return plain(*args, **named)
            finally:
                self._served = before

        return serving

    def _before(self, part: object, method: str, place: Place, concerned: Callable[..., Iterable[int]]) -> None:
        """Have `place` come before `part.method`; `concerned` tells the requests of a call."""
        plain = getattr(part, method)

        @wraps(plain)
        def faulty(*args: Any, **named: Any) -> Any:
            requests = tuple(concerned(*args, **named))
            for armed in self._at(place):
                if armed.strikes(requests):
                    armed.happen()
            return plain(*args, **named)

        _put(part, method, faulty)

    def _at(self, place: Place) -> list[_Armed]:
        return [armed for armed in self._armed if armed.fault.place == place]


def _of(number: int) -> Callable[..., Iterable[int]]:
    return lambda *_: (number,)


def _put(part: object, method: str, faulty: Callable[..., Any]) -> None:
    """In front of the method, for this one object."""
    setattr(part, method, faulty)


def _error(fault: Fault) -> Exception:
    if fault.kind == "memory":
        return MemoryError(f"injected at {fault.place}")
    if fault.kind == "device-memory":
        import torch  # whoever meets this has loaded it already

        return torch.OutOfMemoryError(f"injected at {fault.place}")
    return InjectedFault(fault.place)

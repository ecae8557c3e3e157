"""Where requests are handed in from any thread, and one thread at a time turns the wheel for all.

There is no thread of its own: whoever waits for something turns, or waits for the one that is turning. During a turn
the gate is open, so that others may hand in, abort and read what is there; what they ask for is done between two turns.
"""

from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition, get_ident
from time import monotonic
from typing import TypeAlias, TypeVar

from .errors import EngineClosed
from .request import Asker
from .results import Progress
from .sampler import Chooser
from .sleeping import Sleeper
from .wheel import Outcome, Wheel

Entry: TypeAlias = tuple[Asker, Chooser | None]
Seen = TypeVar("Seen")


class Desk:
    """Keeps who asked for which sequence. `name` is the model's, for the error of a closed desk."""

    def __init__(self, wheel: Wheel, name: str, sleeper: Sleeper) -> None:
        self._wheel = wheel
        self._sleeper = sleeper
        self._name = name
        self._gate = Condition()
        self._turner: int | None = None
        self._closed = False
        self._inbox: deque[Entry] = deque()
        self._aborted: deque[Asker] = deque()
        self._askers: dict[int, Asker] = {}
        self._moved = monotonic()  # when the last turn ended, or work came where there was none

    def hand_in(self, entries: Iterable[Entry]) -> None:
        with self._gate:
            if self._closed:
                raise EngineClosed(self._name)
            self._sleeper.wake()
            if not self._has_work:
                self._moved = monotonic()
            self._inbox.extend(entries)
            self._settle()

    def abort(self, askers: Iterable[Asker], *, wait: bool = True) -> None:
        """End what has not ended. Without `wait` no lock is taken: it happens before the next turn, or at `close`."""
        self._aborted.extend(askers)
        if wait:
            with self._gate:
                self._settle()

    def drive(self, until: Callable[[], bool]) -> None:
        """Turn, or let others turn, until `until()`."""
        with self._gate:
            self._turn_until(until)

    def step(self) -> bool:
        """Turn once; False when there was nothing to turn for."""
        with self._gate:
            self._wait_for_turner()
            if not self._askers:
                return False
            self._turn_outside()
            return True

    def look(self, at: Callable[[Wheel], Seen], *, wakes: bool = True) -> Seen:
        """What `at` sees while nobody turns. Where that needs no model, it need not wake it."""
        with self._gate:
            self._wait_for_turner()
            if wakes:
                self._sleeper.wake()
            return at(self._wheel)

    def sleep(self) -> None:
        """Do all that was asked for; then sleep until something is."""
        with self._gate:
            while self._has_work or self._turner is not None:  # while one still turns, another may hand in
                self._turn_until(lambda: False)
                self._wait_for_turner()
            if self._closed:
                raise EngineClosed(self._name)
            self._sleeper.sleep()

    def progress(self) -> Progress:
        """Without any lock, so that it can be asked for while a turn hangs."""
        return Progress(self._has_work, self._moved)

    @property
    def is_asleep(self) -> bool:
        return self._sleeper.is_asleep

    @property
    def _has_work(self) -> bool:
        return bool(self._askers or self._inbox)

    def close(self) -> None:
        """Abort everything; what comes later is refused."""
        with self._gate:
            self._closed = True
            if self._turner != get_ident():  # a signal handler may close in the midst of its own thread's turn
                self._wait_for_turner()

    def _turn_until(self, until: Callable[[], bool]) -> None:
        self._settle()
        while not until() and self._has_work:
            if self._turner is not None:
                self._gate.wait()
            else:
                self._turn_outside()

    def _wait_for_turner(self) -> None:
        """Until nobody turns, and what was asked for is done."""
        while self._turner is not None:
            self._gate.wait()
        self._settle()

    def _turn_outside(self) -> None:
        """One turn, with the gate open meanwhile."""
        self._turner = get_ident()
        self._gate.release()
        try:
            self._turn()
        finally:
            self._gate.acquire()
            self._turner = None
            self._moved = monotonic()
            self._settle()
            self._gate.notify_all()

    def _turn(self) -> None:
        try:
            for outcome in self._outcomes():
                self._tell(outcome)
        except BaseException:  # an interrupt: who of them has heard of their token is not known any more
            numbers = [sequence.number for sequence in self._wheel.taken]
            self._aborted.extend(self._askers[number] for number in numbers if number in self._askers)
            raise

    def _outcomes(self) -> list[Outcome]:
        try:
            return self._wheel.turn()
        except Exception as error:  # a door: nobody is known to be guilty, and nobody shall wait for ever
            self._end_all(error)
            return []

    def _end_all(self, error: Exception) -> None:
        """A turn failed outside of any request's own work: what it had chosen and planned is lost, so all end with it.
        None of what they computed is trusted.
        """
        askers = list(self._askers.values())
        for asker in askers:
            asker.end("error", error)
        self._askers.clear()
        for asker in askers:
            self._wheel.take_off(asker.sequence, trusted=False)

    def _tell(self, outcome: Outcome) -> None:
        asker = self._askers.get(outcome.sequence.number)
        if asker is None:
            self._wheel.unsay(outcome)
            return
        try:
            goes_on = asker.take(outcome)
        except Exception as error:  # a door: what one request does with its tokens may fail that request alone
            asker.end("error", error)
            goes_on = False
        if not goes_on:
            self._let_go(asker)

    def _settle(self) -> None:
        """Do what was asked for meanwhile. Only between turns, with the gate held."""
        if self._turner is not None:
            return
        while self._inbox:
            asker, chooser = self._inbox.popleft()
            if not asker.wants_tokens:
                asker.end("length")
                continue
            try:
                self._wheel.put(asker.sequence, chooser)
            except Exception as error:  # a door: it is this request's, whoever settles
                asker.end("error", error)
                continue
            self._askers[asker.sequence.number] = asker
        if self._closed:
            self._aborted.extend(self._askers.values())
        while self._aborted:
            self._abort(self._aborted.popleft())

    def _abort(self, asker: Asker) -> None:
        if asker.is_done:
            return
        self._let_go(asker)
        try:
            asker.end("abort")
        except Exception as error:  # a door, as above
            asker.end("error", error)

    def _let_go(self, asker: Asker) -> None:
        self._wheel.take_off(asker.sequence)
        self._askers.pop(asker.sequence.number, None)

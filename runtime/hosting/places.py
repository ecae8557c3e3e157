"""A loaded model's place with the host: who uses it, how long it stays, and who goes first when memory is short."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic

from .asking import Resident
from .engines import EngineHandle


@dataclass(slots=True, eq=False)
class Place:
    """One model that is loaded, or being loaded until `ready`. `keep_alive` in seconds; `context` is the one asked for,
    if any.
    """

    name: str
    engine: EngineHandle
    keep_alive: float
    context: int | None
    users: int = 0
    pinned: bool = False
    expires: float | None = None  # monotonic; None while it is used, or for ever
    ready: asyncio.Task[None] = field(init=False)

    @property
    def key(self) -> str:
        """What text processes know it by: a model that is loaded anew is another one to them."""
        return self.engine.address.path

    @property
    def is_idle(self) -> bool:
        """Whether it may go to make room."""
        return not self.users and not self.pinned and self.ready.done()

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return self.is_idle and self.expires is not None and self.expires <= monotonic()

    def is_short_of(self, context: int | None) -> bool:
        """Whether it would have to be loaded anew to hold so long a context."""
        loaded = self.engine.loaded
        return context is not None and loaded is not None and context > loaded.context

    def rest(self) -> None:
        """Its time begins to run, unless somebody uses it."""
        forever = self.users or self.pinned or self.keep_alive < 0
        self.expires = None if forever else monotonic() + self.keep_alive

    def described(self, running: int) -> Resident:
        return self.engine.described(self.name, self.expires, pinned=self.pinned, running=running)


def shortest_lived(places: Iterable[Place]) -> Place | None:
    """Of those that may go that one whose time would be up first."""
    idle = [place for place in places if place.is_idle]
    return min(idle, key=lambda place: float("inf") if place.expires is None else place.expires, default=None)

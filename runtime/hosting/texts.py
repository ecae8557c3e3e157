"""One text process as the front sees it: prompts go in, pieces of answers come out."""

import asyncio
from collections.abc import Callable
from typing import Any

from ..ipc.channel import Addresses, Channel
from ..ipc.child import Child
from ..ipc.messages import (
    Abort,
    Address,
    Begin,
    Done,
    FromText,
    Leave,
    Pieces,
    Serve,
    Served,
    TextSetup,
    ToText,
    Work,
)
from . import starting
from .asking import Ask, Fault, HostError, Piece

DIED = Fault("unavailable", "the process that told this answer has ended", "ask again", retry_after=1.0)
_MODULE = "unillm.runtime.ipc.text_process"


class TextHandle:
    """One text process, and what it is doing for whom. `ended` is called once, when it has gone unasked."""

    def __init__(self, ended: Callable[["TextHandle"], None]) -> None:
        self.answers: dict[int, asyncio.Queue[Piece]] = {}
        self.serves: set[str] = set()
        self.is_alive = False
        self._ended = ended
        self._work: dict[int, asyncio.Future[Done]] = {}
        self._served: dict[str, asyncio.Future[None]] = {}
        self._child: Child | None = None
        self._address: Address | None = None
        self._channel: Channel[FromText] | None = None
        self._leaving = False

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def start(self, addresses: Addresses) -> None:
        """Raises `HostError` when it cannot be started."""
        self._address = address = addresses.new()
        self._child, connection = await starting.start(_MODULE, TextSetup(address), address, DIED, threads=1)
        self._channel = Channel(connection, FromText, self._hear)
        self._channel.start_in(asyncio.get_running_loop())
        self.is_alive = True

    async def serve(self, message: Serve) -> None:
        """Until it can answer for that model."""
        if not self.is_alive:
            raise HostError(DIED)
        served = self._served[message.key] = asyncio.get_running_loop().create_future()
        self.send(message)
        await served
        self.serves.add(message.key)

    def leave(self, key: str) -> None:
        self.serves.discard(key)
        waiting = self._served.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(HostError(DIED))
            waiting.exception()  # whoever waited may have gone
        self.send(Leave(key))

    def begin(self, number: int, key: str, ask: Ask) -> asyncio.Queue[Piece]:
        queue: asyncio.Queue[Piece] = asyncio.Queue()
        self.answers[number] = queue
        self.send(Begin(number, key, ask))
        return queue

    def end(self, number: int, *, abort: bool) -> None:
        if self.answers.pop(number, None) is not None and abort:
            self.send(Abort(number))

    async def work(self, message: Work) -> Done:
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._work[message.number] = future
        self.send(message)
        try:
            done = await future
        finally:
            self._work.pop(message.number, None)
        if done.fault is not None:
            raise HostError(done.fault)
        return done

    def send(self, message: ToText) -> None:
        if self._channel is not None:
            self._channel.send(message)

    async def stop(self) -> None:
        self._leaving = True
        if self._child is not None and self._address is not None:
            await asyncio.to_thread(starting.stop, self._child, self._address)
        if self._channel is not None:
            self._channel.finish(asyncio.get_running_loop())

    def _hear(self, said: FromText | None) -> None:
        match said:
            case Pieces():
                for told in said.told:
                    if (queue := self.answers.get(told.number)) is not None:
                        queue.put_nowait(told.piece)
            case Done():
                if (future := self._work.get(said.number)) is not None and not future.done():
                    future.set_result(said)
            case Served():
                self._hear_served(said)
            case None:
                self._hear_the_end()

    def _hear_served(self, said: Served) -> None:
        future = self._served.get(said.key)
        if future is None or future.done():
            return
        if said.fault is None:
            future.set_result(None)
        else:
            future.set_exception(HostError(said.fault))

    def _hear_the_end(self) -> None:
        self.is_alive = False
        for queue in self.answers.values():
            queue.put_nowait(Piece(finish_reason="error", fault=DIED))
        waiting: list[asyncio.Future[Any]] = [*self._work.values(), *self._served.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(HostError(DIED))
        if not self._leaving:
            self._ended(self)

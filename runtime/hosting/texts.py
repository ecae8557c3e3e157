"""The text processes as the front sees them: prompts go in, pieces of answers come out.

A process that dies takes what it was telling with it; another one takes its place and serves the same models.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any

import msgspec

from ..ipc.channel import Addresses, Channel, connect
from ..ipc.child import Child
from ..ipc.messages import (
    Abort,
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
from .asking import Ask, Fault, HostError, Piece

DIED = Fault("unavailable", "the process that told this answer has ended", "ask again")
_MODULE = "unillm.runtime.ipc.text_process"
_LISTENS_WITHIN = 60.0


class TextHandle:
    """One text process, and what it is doing for whom."""

    def __init__(self, ended: Callable[["TextHandle"], None]) -> None:
        self.answers: dict[int, asyncio.Queue[Piece]] = {}
        self._ended = ended
        self._work: dict[int, asyncio.Future[Done]] = {}
        self._served: dict[str, asyncio.Future[None]] = {}
        self._child: Child | None = None
        self._channel: Channel[FromText] | None = None
        self._leaving = False

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def start(self, addresses: Addresses) -> None:
        address = addresses.new()
        self._child = await asyncio.to_thread(Child, _MODULE, TextSetup(address), threads=1)
        until = monotonic() + _LISTENS_WITHIN
        connection: Any = None
        while connection is None and self._child.is_alive and monotonic() < until:
            try:
                connection = await asyncio.to_thread(connect, address)
            except OSError:
                await asyncio.sleep(0.02)
        if connection is None:
            raise HostError(DIED)
        loop = asyncio.get_running_loop()
        self._channel = Channel(connection, FromText, lambda said: self._later(loop, said))
        self._channel.start()

    async def serve(self, message: Serve) -> None:
        """Until it can answer for that model."""
        self._served[message.key] = asyncio.get_running_loop().create_future()
        self.send(message)
        await self._served[message.key]

    def leave(self, key: str) -> None:
        self._served.pop(key, None)
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
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)

    def _later(self, loop: asyncio.AbstractEventLoop, said: FromText | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._hear, said)

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
        for queue in self.answers.values():
            queue.put_nowait(Piece(finish_reason="error", fault=DIED))
        waiting: list[asyncio.Future[Any]] = [*self._work.values(), *self._served.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(HostError(DIED))
        if not self._leaving:
            self._ended(self)


class TextPool:
    """`size` text processes. Each serves every model; a request goes to the one that tells the fewest answers."""

    def __init__(self, size: int, addresses: Addresses) -> None:
        self._size = size
        self._addresses = addresses
        self._handles: list[TextHandle] = []
        self._serving: dict[str, Serve] = {}
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await asyncio.gather(*(self._add() for _ in range(self._size)))

    @property
    def pids(self) -> list[int]:
        return [handle.pid for handle in self._handles if handle.pid is not None]

    def number(self) -> int:
        return next(self._numbers)

    async def serve(self, message: Serve) -> None:
        self._serving[message.key] = message
        try:
            await asyncio.gather(*(handle.serve(message) for handle in self._handles))
        except HostError:
            self._serving.pop(message.key, None)
            raise

    def leave(self, key: str) -> None:
        self._serving.pop(key, None)
        for handle in self._handles:
            handle.leave(key)

    def pick(self) -> TextHandle:
        if not self._handles:
            raise HostError(msgspec.structs.replace(DIED, retry_after=1.0))
        return min(self._handles, key=lambda handle: len(handle.answers))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(handle.stop() for handle in self._handles))

    async def _add(self) -> None:
        handle = TextHandle(self._replace)
        await handle.start(self._addresses)
        for key, message in list(self._serving.items()):
            try:
                await handle.serve(message)
            except HostError:  # what ends one process would end the next: the model is not served any more
                self._serving.pop(key, None)
        self._handles.append(handle)

    def _replace(self, gone: TextHandle) -> None:
        if gone in self._handles:
            self._handles.remove(gone)
        task = asyncio.get_running_loop().create_task(self._add())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

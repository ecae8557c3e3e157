"""The text processes together.

Each serves every model. One that dies takes what it was telling with it, and another one takes its place.
"""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any

from ..ipc.channel import Addresses
from ..ipc.messages import Serve
from .asking import HostError
from .texts import DIED, TextHandle

_PATIENCE = 30.0  # seconds for which a request waits for another text process when all have died
_AGAIN = 1.0  # seconds until one that could not be started is tried again


class TextPool:
    """`size` text processes; a request goes to the one that tells the fewest answers."""

    def __init__(self, size: int, addresses: Addresses) -> None:
        self._size = size
        self._addresses = addresses
        self._handles: list[TextHandle] = []
        self._serving: dict[str, Serve] = {}
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._added = asyncio.Event()
        self.deaths = 0

    async def start(self) -> None:
        await asyncio.gather(*(self._add() for _ in range(self._size)))

    @property
    def pids(self) -> list[int]:
        return [handle.pid for handle in self._handles if handle.pid is not None]

    def number(self) -> int:
        return next(self._numbers)

    async def serve(self, message: Serve) -> None:
        """Until every one of them can answer for that model; one that is being started will too."""
        self._serving[message.key] = message
        try:
            while not self._handles:
                await self._one_more()
            await asyncio.gather(*(handle.serve(message) for handle in self._handles))
        except BaseException:
            self.leave(message.key)
            raise

    def leave(self, key: str) -> None:
        self._serving.pop(key, None)
        for handle in self._handles:
            handle.leave(key)

    async def pick(self, key: str) -> TextHandle:
        """Where to ask for that model. Where all have died another one is waited for; raises `HostError` in the end."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    able = [handle for handle in self._handles if handle.is_alive and key in handle.serves]
                    if able:
                        return min(able, key=lambda handle: len(handle.answers))
                    if key not in self._serving:
                        raise HostError(DIED)
                    await self._one_more()
        except TimeoutError:
            raise HostError(DIED) from None

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(handle.stop() for handle in self._handles))
        self._handles = []

    async def _one_more(self) -> None:
        self._added.clear()
        await self._added.wait()

    async def _add(self) -> None:
        handle = TextHandle(self._replace)
        await handle.start(self._addresses)
        try:
            while missing := [one for key, one in self._serving.items() if key not in handle.serves]:
                await self._taught(handle, missing[0])
        except BaseException:
            await asyncio.shield(handle.stop())
            raise
        if handle.is_alive:
            self._handles.append(handle)
            self._added.set()

    async def _taught(self, handle: TextHandle, message: Serve) -> None:
        try:
            await handle.serve(message)
        except HostError:  # what ends one process would end the next: the model is not served any more
            if self._serving.get(message.key) is message:
                self.leave(message.key)
            if not handle.is_alive:
                raise

    def _replace(self, gone: TextHandle) -> None:
        """In its place another one. One that was still being started is seen to by who starts it."""
        self._spawn(gone.stop())
        if gone in self._handles:
            self._handles.remove(gone)
            self.deaths += 1
            self._spawn(self._add_again())

    async def _add_again(self) -> None:
        while True:
            try:
                return await self._add()
            except HostError:
                await asyncio.sleep(_AGAIN)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

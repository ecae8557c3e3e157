"""One model's engine as the front sees it: a process that loads, reports how it is, and ends.

It knows the process and its channel; what is asked of the model goes there from elsewhere.
"""

import asyncio
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Literal

from ...registry.files import ModelFiles
from ..ipc.channel import Channel
from ..ipc.child import Child
from ..ipc.messages import Address, Broken, FromEngine, Loaded, Report, Reported, Setup, as_text
from . import starting
from .asking import Fault, HostError, Resident

State = Literal["loading", "ready", "stalled", "leaving", "failed"]

DIED = Fault("unavailable", "the model's engine ended while it was loading", "ask again, or see the server's log")
_MODULE = "unillm.runtime.ipc.engine_process"


class EngineHandle:
    """The engine of `files`. `size` is what is reserved for it in bytes; `ended` is called once, when it has gone after
    it was loaded, and nobody had wanted it to.
    """

    def __init__(
        self, files: ModelFiles, options: dict[str, Any], address: Address, size: int, ended: Callable[[], None]
    ) -> None:
        self.files = files
        self.options = options
        self.address = address
        self.size = size
        self.state: State = "loading"
        self.loaded: Loaded | None = None
        self.stats: dict[str, Any] = {}
        self.stalled = 0.0
        self._ended = ended
        self._child: Child | None = None
        self._channel: Channel[FromEngine] | None = None
        self._outcome: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._asked: float | None = None

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def start(self) -> Loaded:
        """Start the process and wait until the model is loaded; raises `HostError` when it cannot be."""
        setup = Setup(address=self.address, files=as_text(self.files), options=self.options)
        self._child, connection = await starting.start(_MODULE, setup, self.address, DIED)
        self._channel = Channel(connection, FromEngine, self._hear)
        self._channel.start_in(asyncio.get_running_loop())
        self.loaded = await self._outcome
        if self.state == "loading":
            self.state = "ready"
        return self.loaded

    def ask_how_it_is(self, limit: float) -> None:
        """Have it report, and note whether it stands still: its work, or its answers."""
        silent = 0.0 if self._asked is None else monotonic() - self._asked
        if self.state in ("ready", "stalled"):
            self.state = "stalled" if max(self.stalled, silent) > limit else "ready"
        if self._channel is not None and self._asked is None:
            self._asked = monotonic()
            self._channel.send(Report())

    async def stop(self) -> None:
        self.state = "leaving"
        if self._child is not None:
            await asyncio.to_thread(starting.stop, self._child, self.address)
        if self._channel is not None:
            self._channel.finish(asyncio.get_running_loop())

    def described(self, name: str, expires: float | None, *, pinned: bool, running: int) -> Resident:
        """What may be told of it; `expires` is monotonic time."""
        loaded = self.loaded
        return Resident(
            name=name,
            state=self.state,
            size=self.size if loaded is None else loaded.bytes_held + int(self.stats.get("kv_bytes", 0)),
            device="" if loaded is None else loaded.device,
            context=0 if loaded is None else loaded.context,
            expires=None if expires is None else time() + expires - monotonic(),
            pinned=pinned,
            running=running,
            waiting=int(self.stats.get("waiting", 0)),
        )

    def _hear(self, said: FromEngine | None) -> None:
        match said:
            case Loaded() if not self._outcome.done():
                self._outcome.set_result(said)
            case Broken() if not self._outcome.done():
                self._outcome.set_exception(HostError(said.fault))
            case Reported():
                self.stats, self.stalled, self._asked = said.stats, said.stalled, None
            case None:
                self._hear_the_end()

    def _hear_the_end(self) -> None:
        was_loading = not self._outcome.done()
        if was_loading:
            self._outcome.set_exception(HostError(DIED))
        if self.state != "leaving" and not was_loading:
            self.state = "failed"
            self._ended()

"""The keeper: which models are loaded, in which processes; who makes room for whom, and what died comes back.

A model that is loaded is never behind one that is being loaded: only making room is done one at a time. When memory is
short, of the models that nobody uses that one goes whose time would be up first. It knows nothing of what is asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import msgspec

from ...registry.files import ModelFiles
from ..errors import ContextTooLong
from ..ipc.channel import Addresses
from ..ipc.messages import Serve, as_text
from .asking import Fault, HostError
from .crashes import Crashes
from .engines import DIED, EngineHandle
from .faults import fault_of
from .options import HostOptions
from .places import Place, shortest_lived
from .room import Need, need_of, no_room, working_memory
from .text_pool import TextPool

_LOG = logging.getLogger(__name__)
_BEAT = 0.25  # seconds between two looks at the engines
_LOOKS_AGAIN = 1.0  # seconds: who waits for others to go does not rely on being told
_NOTICED_WITHIN = 1.0  # seconds
_MOST_NAMES = 4096  # that are remembered

DRAINING = Fault("unavailable", "the server is shutting down", "ask another one, or later", retry_after=10.0)


class Keeper:
    """`find` gives the files of a name, or raises; it is called in a thread. `loaded` hears which model was loaded, and
    in how many seconds.
    """

    def __init__(
        self,
        find: Callable[[str], ModelFiles],
        memory: int,
        options: HostOptions,
        texts: TextPool,
        addresses: Addresses,
        loaded: Callable[[str, float], None],
    ) -> None:
        self.places: dict[str, Place] = {}
        self.crashes = Crashes()
        self.draining = False
        self.counters: dict[str, float] = {"loads": 0, "crashes": 0}
        self.memory = memory
        self._find = find
        self._options = options
        self._texts = texts
        self._addresses = addresses
        self._loaded = loaded
        self._leaving: set[Place] = set()
        self._names: dict[str, str] = {}
        self._planning = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self._spawn(self._beat())

    @property
    def held(self) -> int:
        """Bytes reserved for models, those included that are on their way out."""
        return sum(place.engine.size for place in {*self.places.values(), *self._leaving})

    async def key(self, name: str) -> str:
        """The name that the registry knows it by. Raises `HostError`."""
        known = self._names.get(name)
        if known is not None and known in self.places:
            return known
        files = await self._files(name)
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        self._names[name] = files.name
        return files.name

    @asynccontextmanager
    async def using(self, key: str, keep_alive: float | None, context: int | None) -> AsyncIterator[Place]:
        """The model, loaded; it stays as long as it is used, and after that as long as was wished."""
        if self.draining:
            raise HostError(DRAINING)
        place = await self._present(key, context)
        place.users += 1
        place.expires = None
        if keep_alive is not None:
            place.keep_alive = keep_alive
        try:
            await asyncio.shield(place.ready)
            _check_context(place, context)
            yield place
        finally:
            place.users -= 1
            self._rest(place)
            await self._tell_changed()

    async def unload(self, key: str) -> bool:
        """Let it go as soon as nobody uses it; False when it is not loaded."""
        place = self.places.get(key)
        if place is None:
            return False
        place.keep_alive, place.pinned = 0.0, False
        if not place.users:
            await self._let_go(place)
        return True

    async def pin(self, key: str, pinned: bool) -> bool:
        place = self.places.get(key)
        if place is None:
            return False
        place.pinned = pinned
        place.rest()
        await self._tell_changed()
        return True

    async def noticed(self, key: str, place: Place | None) -> None:
        """Until it is known here too that this engine has ended: others may hear of it first."""
        until = monotonic() + _NOTICED_WITHIN
        while place is not None and self.places.get(key) is place and monotonic() < until:
            await asyncio.sleep(0.01)

    async def drain(self, grace: float) -> None:
        """Lend out no model any more, and let all go when nobody uses them, at the latest after `grace` seconds."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace), self._changed:
                await self._changed.wait_for(lambda: not any(place.users for place in self.places.values()))
        left, tasks = {*self.places.values(), *self._leaving}, list(self._tasks)
        self.places.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._stopped(place) for place in left))

    async def _files(self, name: str) -> ModelFiles:
        try:
            return await asyncio.to_thread(self._find, name)
        except Exception as error:  # a door: whatever the registry has against a name
            raise HostError(fault_of(error)) from error

    async def _present(self, key: str, context: int | None) -> Place:
        """Its place, made and filled where there is none. A longer context than it has is a reason to load it anew."""
        place = await self._large_enough(key, context)
        if place is not None:
            return place
        if (fault := self.crashes.fault(key)) is not None:
            raise HostError(fault)
        files = await self._files(key)
        async with self._planning:
            if (place := self.places.get(key)) is not None:
                return place
            need = await asyncio.to_thread(need_of, files)
            await self._make_room(key, need)
            if self.draining:
                raise HostError(DRAINING)
            return self._place(key, files, need, context)

    async def _large_enough(self, key: str, context: int | None) -> Place | None:
        """Its place, if it has one; one with too short a context goes as soon as nobody uses it."""
        until = monotonic() + self._options.load_timeout
        while (place := self.places.get(key)) is not None:
            if context is not None and not place.ready.done():
                await asyncio.wait({place.ready})
                continue
            _check_context(place, context, loaded_too=False)
            if not place.is_short_of(context):
                return place
            if place.users:
                in_use = Fault("busy", f"{key} is in use with a shorter context", retry_after=5.0)
                await self._wait_for_change(until, in_use)
            else:
                await self._let_go(place)
        return None

    def _place(self, key: str, files: ModelFiles, need: Need, context: int | None) -> Place:
        size, cache = need.granted(self.memory - self.held)
        options = {"kv_memory": cache, **self._options.engine}
        if context is not None:
            options["context"] = context
        engine = EngineHandle(files, options, self._addresses.new(), size, lambda: self._died(place))
        place = Place(key, engine, keep_alive=self._options.keep_alive, context=context)
        place.ready = self._spawn(self._fill(place))
        place.ready.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may wait for it
        self.places[key] = place
        self.counters["loads"] += 1
        return place

    async def _fill(self, place: Place) -> None:
        began, engine = monotonic(), place.engine
        try:
            async with asyncio.timeout(self._options.load_timeout):
                there = await engine.start()
                engine.size = there.bytes_held + there.cache_bytes + working_memory()
                files = as_text(engine.files)
                await self._texts.serve(Serve(key=place.key, files=files, engine=engine.address, context=there.context))
        except Exception as error:  # a door: whoever waits for it hears of it
            self._forget(place)
            await self._stopped(place)
            raise HostError(self._not_loaded(place.name, error)) from None
        finally:
            await self._tell_changed()
        self._loaded(place.name, monotonic() - began)

    def _not_loaded(self, key: str, error: Exception) -> Fault:
        if isinstance(error, TimeoutError):
            return Fault("unavailable", f"{key} was not loaded within {self._options.load_timeout:.0f} s")
        if not isinstance(error, HostError):
            _LOG.error("a model was not loaded", exc_info=error)
        fault = fault_of(error)
        if fault is DIED:
            self.crashes.note(key)
        return fault if key in fault.message else msgspec.structs.replace(fault, message=f"{key}: {fault.message}")

    async def _make_room(self, name: str, need: Need) -> None:
        """See that it fits; who is idle goes, and who is not is waited for."""
        if need.least > self.memory:
            raise no_room(name, need, self.memory, self.memory)
        until = monotonic() + self._options.load_timeout
        while need.least > self.memory - self.held:
            if (idle := shortest_lived(self.places.values())) is not None:
                await self._let_go(idle)
                continue
            pinned = sum(place.engine.size for place in self.places.values() if place.pinned)
            if need.least > self.memory - pinned:
                raise no_room(name, need, self.memory - pinned, self.memory)
            await self._wait_for_change(until, no_room(name, need, self.memory - self.held, self.memory, 10.0).fault)

    async def _wait_for_change(self, until: float, otherwise: Fault) -> None:
        """For a while, so that who waits looks again; raises `HostError` when its time is over."""
        if monotonic() >= until:
            raise HostError(otherwise)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOKS_AGAIN), self._changed:
                await self._changed.wait()
        if self.draining:
            raise HostError(DRAINING)

    def _rest(self, place: Place) -> None:
        """Nobody uses it any more, perhaps: its time begins to run."""
        if place.users or self.places.get(place.name) is not place:
            return
        place.rest()
        self._let_go_if_over(place)

    def _let_go_if_over(self, place: Place) -> None:
        """At once, so that nobody is given it who would see it go."""
        if place.is_over and self._forget(place):
            self._spawn(self._stopped(place))

    async def _let_go(self, place: Place) -> None:
        if self._forget(place):
            await self._stopped(place)

    def _forget(self, place: Place) -> bool:
        """It is lent out no more, though its memory is not back yet; False where it was not there."""
        if self.places.get(place.name) is not place:
            return False
        del self.places[place.name]
        self._leaving.add(place)
        return True

    async def _stopped(self, place: Place) -> None:
        """Its memory is back."""
        self._leaving.add(place)
        self._texts.leave(place.key)
        try:
            await asyncio.shield(place.engine.stop())
        finally:
            self._leaving.discard(place)
            await self._tell_changed()

    def _died(self, place: Place) -> None:
        """The engine has ended unasked. It is started anew, unless it does that all the time."""
        was_there = self._forget(place)
        self._spawn(self._stopped(place))
        if not was_there:
            return
        self.counters["crashes"] += 1
        self.crashes.note(place.name)
        if not self.draining and self.crashes.fault(place.name) is None:
            self._spawn(self._again(place))

    async def _again(self, gone: Place) -> None:
        with suppress(HostError):
            anew = await self._present(gone.name, gone.context)
            anew.keep_alive, anew.pinned = gone.keep_alive, gone.pinned
            await asyncio.shield(anew.ready)
            self._rest(anew)

    async def _beat(self) -> None:
        """See how the engines are, and let go whose time is up."""
        while True:
            await asyncio.sleep(_BEAT)
            for place in list(self.places.values()):
                place.engine.ask_how_it_is(self._options.stalled_after)
                self._let_go_if_over(place)

    async def _tell_changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _check_context(place: Place, context: int | None, *, loaded_too: bool = True) -> None:
    """Raises `HostError` for a context that the model was not made for, or that it was not loaded with after all."""
    loaded = place.engine.loaded
    if context is None or loaded is None:
        return
    if context > loaded.trained:
        raise HostError(msgspec.structs.replace(fault_of(ContextTooLong(context, loaded.trained)), field="context"))
    if loaded_too and place.is_short_of(context):
        raise HostError(Fault("busy", f"{place.name} was loaded with a shorter context meanwhile", retry_after=1.0))

"""The host: loads models when they are asked for, keeps them a while, lets them go, and passes on what is asked.

Every model has an engine process of its own, so that what happens to one happens to no other, and memory that is given
back is given back. A model that is loaded is never behind one that is being loaded: only making room is done one at a
time. When memory is short, of the models that nobody uses that one goes whose time would be up first.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from time import monotonic
from typing import Any

import msgspec

from ...registry.files import ModelFiles
from ..errors import ContextTooLong
from ..ipc.channel import Addresses
from ..ipc.messages import Done, Serve, Work, as_text
from .asking import Ask, Fault, Health, HostError, Piece, Resident
from .crashes import Crashes
from .engines import DIED, EngineHandle
from .faults import ENGINE_GONE, fault_of
from .line import Line
from .measures import Measures
from .options import HostOptions
from .places import Place, shortest_lived
from .room import Need, need_of, no_room, working_memory
from .text_pool import TextPool
from .texts import DIED as TEXT_GONE

_LOG = logging.getLogger(__name__)
_BEAT = 0.25  # seconds between two looks at the engines
_NOTICED_WITHIN = 1.0  # seconds
_MOST_NAMES = 4096  # that are remembered

DRAINING = Fault("unavailable", "the server is shutting down", "ask another one, or later", retry_after=10.0)


class LocalHost:
    """Models on this machine. `find` gives the files of a name, or raises; it is called in a thread."""

    def __init__(self, find: Callable[[str], ModelFiles], memory: int, options: HostOptions) -> None:
        self._find = find
        self._options = options
        self._memory = options.memory or memory
        self._addresses = Addresses()
        self._texts = TextPool(options.text_workers, self._addresses)
        self._line = Line(options.running, options.max_queue)
        self._places: dict[str, Place] = {}
        self._leaving: set[Place] = set()
        self._names: dict[str, str] = {}
        self._planning = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._crashes = Crashes()
        self._measures: dict[str, Measures] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_open = False
        self._draining = False
        self._counters: dict[str, float] = {"requests": 0, "loads": 0, "crashes": 0}

    async def start(self) -> None:
        await self._texts.start()
        self._spawn(self._beat())

    def open(self) -> None:
        """Say that all is loaded that was to be loaded at the start: until then it is not called ready."""
        self._is_open = True

    async def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        self._counters["requests"] += 1
        began = monotonic()
        key = await self._key(ask.model)
        with self._line.place(key) as queued:
            for is_first in (True, False):
                place, has_begun = self._places.get(key), False
                try:
                    async with aclosing(self._told(key, ask, began, queued)) as pieces:
                        async for piece in pieces:
                            has_begun = True
                            yield piece
                    return
                except HostError as error:  # what died before it said anything is asked anew, once
                    if has_begun or not is_first or error.fault not in (ENGINE_GONE, TEXT_GONE):
                        raise
                await self._until_noticed(key, place)

    async def _told(self, key: str, ask: Ask, began: float, queued: int) -> AsyncGenerator[Piece, None]:
        async with self._using(key, ask.keep_alive, ask.context) as place:
            text, number = await self._texts.pick(key), self._texts.number()
            waited, pieces = monotonic() - began, text.begin(number, place.name, ask)
            left = ask.params.n
            try:
                first = await pieces.get()
                if first.fault is not None:
                    left = 0
                    raise HostError(self._worded(first.fault))
                yield msgspec.structs.replace(first, queued=queued, load_seconds=waited)
                while left:
                    piece = self._noted(key, await pieces.get())
                    is_broken = piece.fault is not None and piece.usage is None
                    left = 0 if is_broken else left - (piece.finish_reason is not None)
                    yield piece
            finally:
                text.end(number, abort=left > 0)

    async def _until_noticed(self, key: str, place: Place | None) -> None:
        """An engine's end may be heard of by others first."""
        until = monotonic() + _NOTICED_WITHIN
        while place is not None and self._places.get(key) is place and monotonic() < until:
            await asyncio.sleep(0.01)

    async def encode(self, model: str, text: str, *, special: bool = False) -> list[int]:
        return (await self._work(model, "encode", text=text, special=special)).tokens

    async def decode(self, model: str, tokens: Sequence[int]) -> str:
        return (await self._work(model, "decode", tokens=list(tokens))).text

    async def count(self, ask: Ask) -> int:
        return len((await self._work(ask.model, "count", ask=ask)).tokens)

    async def render(self, ask: Ask) -> str:
        return (await self._work(ask.model, "render", ask=ask)).text

    async def embed(
        self, model: str, inputs: Sequence[str | list[int]], *, truncate: bool, keep_alive: float | None
    ) -> list[tuple[list[float], int]]:
        with self._line.place(await self._key(model)):
            done = await self._work(model, "embed", keep_alive=keep_alive, inputs=list(inputs), truncate=truncate)
        return list(zip(done.vectors, done.tokens, strict=True))

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        async with self._using(await self._key(model), keep_alive, context) as place:
            pass
        return self._described(place)

    async def unload(self, model: str) -> bool:
        place = self._places.get(await self._key(model))
        if place is None:
            return False
        place.keep_alive, place.pinned = 0.0, False
        if not place.users:
            await self._let_go(place)
        return True

    async def pin(self, model: str, pinned: bool) -> bool:
        place = self._places.get(await self._key(model))
        if place is None:
            return False
        place.pinned = pinned
        place.rest()
        await self._tell_changed()
        return True

    async def residents(self) -> list[Resident]:
        failed = [_failed(name) for name in self._crashes.looping() if name not in self._places]
        return [*(self._described(place) for place in self._places.values()), *failed]

    async def health(self) -> Health:
        models = await self.residents()
        states = {model.state for model in models}
        usual = "ready" if self._is_open else "loading"
        state = next((one for one in ("stalled", "failed", "loading") if one in states), usual)
        return Health(
            state="draining" if self._draining else state,  # type: ignore[arg-type]
            models=models,
            running=sum(model.running for model in models),
            waiting=sum(model.waiting for model in models),
            stalled_seconds=max((place.engine.stalled for place in self._places.values()), default=0.0),
        )

    async def metrics(self) -> Mapping[str, Mapping[str, float]]:
        numbers = {
            name: {key: float(value) for key, value in place.engine.stats.items() if isinstance(value, int | float)}
            for name, place in self._places.items()
        }
        own = {
            **self._counters,
            "refused": self._line.refused,
            "text_deaths": self._texts.deaths,
            "models": len(self._places),
            "memory_bytes": self._memory,
            "memory_reserved_bytes": self._held(),
        }
        return {"": own, **numbers}

    def measures(self) -> Mapping[str, Measures]:
        """What was measured of each model's answers since the start."""
        return self._measures

    async def drain(self, grace: float) -> None:
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace), self._changed:
                await self._changed.wait_for(lambda: not any(place.users for place in self._places.values()))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._let_go(place) for place in list(self._places.values())))
        await self._texts.stop()
        self._addresses.close()

    @property
    def pids(self) -> list[int]:
        """The processes that work for it."""
        engines = [place.engine.pid for place in self._places.values()]
        return [*self._texts.pids, *(pid for pid in engines if pid is not None)]

    @asynccontextmanager
    async def _using(self, key: str, keep_alive: float | None, context: int | None) -> AsyncIterator[Place]:
        """The model, loaded; it stays as long as it is used, and after that as long as was wished."""
        if self._draining:
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

    async def _key(self, name: str) -> str:
        """The name that the registry knows it by."""
        known = self._names.get(name)
        if known is not None and known in self._places:
            return known
        files = await self._files(name)
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        self._names[name] = files.name
        return files.name

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
        if (fault := self._crashes.fault(key)) is not None:
            raise HostError(fault)
        files = await self._files(key)
        async with self._planning:
            if (place := self._places.get(key)) is not None:
                return place
            need = await asyncio.to_thread(need_of, files)
            await self._make_room(key, need)
            if self._draining:
                raise HostError(DRAINING)
            return self._place(key, files, need, context)

    async def _large_enough(self, key: str, context: int | None) -> Place | None:
        """Its place, if it has one; one with too short a context goes as soon as nobody uses it."""
        while (place := self._places.get(key)) is not None:
            if context is not None and not place.ready.done():
                await asyncio.wait({place.ready})
                continue
            _check_context(place, context, loaded_too=False)
            if not place.is_short_of(context):
                return place
            if place.users:
                await self._wait_for_change(Fault("busy", f"{key} is in use with a shorter context", retry_after=5.0))
            else:
                await self._let_go(place)
        return None

    def _place(self, key: str, files: ModelFiles, need: Need, context: int | None) -> Place:
        size, cache = need.granted(self._memory - self._held())
        options = {"kv_memory": cache, **self._options.engine}
        if context is not None:
            options["context"] = context
        engine = EngineHandle(files, options, self._addresses.new(), size, lambda: self._died(place))
        ready = self._spawn(self._fill(key, files, engine))
        ready.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be left to hear of it
        place = self._places[key] = Place(key, engine, ready, self._options.keep_alive, context)
        self._counters["loads"] += 1
        return place

    async def _fill(self, key: str, files: ModelFiles, engine: EngineHandle) -> None:
        began = monotonic()
        try:
            async with asyncio.timeout(self._options.load_timeout):
                there = await engine.start()
                engine.size = there.bytes_held + there.cache_bytes + working_memory()
                serve = Serve(key=key, files=as_text(files), engine=engine.address, context=there.context)
                await self._texts.serve(serve)
        except Exception as error:  # a door: whoever waits for it hears of it
            self._places.pop(key, None)
            await engine.stop()
            raise HostError(self._not_loaded(key, error)) from None
        finally:
            await self._tell_changed()
        self._measures.setdefault(key, Measures()).load.note(monotonic() - began)

    def _not_loaded(self, key: str, error: Exception) -> Fault:
        if isinstance(error, TimeoutError):
            return Fault("unavailable", f"{key} was not loaded within {self._options.load_timeout:.0f} s")
        if not isinstance(error, HostError):
            _LOG.error("a model was not loaded", exc_info=error)
        fault = fault_of(error)
        if fault is DIED:
            self._crashes.note(key)
        return fault if key in fault.message else msgspec.structs.replace(fault, message=f"{key}: {fault.message}")

    async def _make_room(self, name: str, need: Need) -> None:
        """See that it fits; who is idle goes, and who is not is waited for."""
        if need.least > self._memory:
            raise no_room(name, need, self._memory, self._memory)
        while need.least > self._memory - self._held():
            if (idle := shortest_lived(self._places.values())) is not None:
                await self._let_go(idle)
                continue
            pinned = sum(place.engine.size for place in self._places.values() if place.pinned)
            if need.least > self._memory - pinned:
                raise no_room(name, need, self._memory - pinned, self._memory)
            await self._wait_for_change(no_room(name, need, self._memory - self._held(), self._memory, 10.0).fault)

    async def _wait_for_change(self, otherwise: Fault) -> None:
        try:
            async with asyncio.timeout(self._options.load_timeout), self._changed:
                await self._changed.wait()
        except TimeoutError:
            raise HostError(otherwise) from None
        if self._draining:
            raise HostError(DRAINING)

    def _held(self) -> int:
        """Bytes reserved for models, those included that are on their way out."""
        return sum(place.engine.size for place in {*self._places.values(), *self._leaving})

    def _rest(self, place: Place) -> None:
        """Nobody uses it any more, perhaps: its time begins to run."""
        if place.users or self._places.get(place.name) is not place:
            return
        place.rest()
        if place.is_over:
            self._spawn(self._let_go(place))

    async def _let_go(self, place: Place) -> None:
        if self._places.get(place.name) is place:
            del self._places[place.name]
            await self._stopped(place)
        await self._tell_changed()

    async def _stopped(self, place: Place) -> None:
        self._leaving.add(place)
        self._texts.leave(place.name)
        try:
            await asyncio.shield(place.engine.stop())
        finally:
            self._leaving.discard(place)

    def _died(self, place: Place) -> None:
        """The engine has ended unasked. It is started anew, unless it does that all the time."""
        self._spawn(self._stopped(place))
        if self._places.get(place.name) is not place:
            return
        del self._places[place.name]
        self._counters["crashes"] += 1
        self._crashes.note(place.name)
        if not self._draining and self._crashes.fault(place.name) is None:
            self._spawn(self._again(place))

    async def _again(self, gone: Place) -> None:
        with suppress(HostError):
            anew = await self._present(gone.name, gone.context)
            anew.keep_alive, anew.pinned = gone.keep_alive, gone.pinned
            await asyncio.shield(anew.ready)
            self._rest(anew)

    async def _work(self, model: str, kind: str, keep_alive: float | None = None, **what: Any) -> Done:
        key = await self._key(model)
        async with self._using(key, keep_alive, None) as place:
            text = await self._texts.pick(key)
            return await text.work(Work(number=self._texts.number(), key=place.name, kind=kind, **what))

    async def _beat(self) -> None:
        """See how the engines are, and let go whose time is up."""
        while True:
            await asyncio.sleep(_BEAT)
            for place in list(self._places.values()):
                place.engine.ask_how_it_is(self._options.stalled_after)
                if place.is_over:
                    self._spawn(self._let_go(place))

    async def _tell_changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _noted(self, key: str, piece: Piece) -> Piece:
        if piece.finish_reason is not None:
            self._measures.setdefault(key, Measures()).note(piece)
        return piece if piece.fault is None else msgspec.structs.replace(piece, fault=self._worded(piece.fault))

    def _worded(self, fault: Fault) -> Fault:
        """What is broken off while the server shuts down says so."""
        return DRAINING if self._draining and fault.kind == "unavailable" else fault

    def _described(self, place: Place) -> Resident:
        return place.described(self._line.asked(place.name))

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


def _failed(name: str) -> Resident:
    return Resident(
        name=name, state="failed", size=0, device="", context=0, expires=None, pinned=False, running=0, waiting=0
    )

"""The host: loads models when they are asked for, keeps them a while, lets them go, and passes on what is asked.

Every model has an engine process of its own, so that what happens to one happens to no other, and memory that is given
back is given back. A model that is loaded is never behind one that is being loaded: only making room is done one at a
time. When memory is short, of the models that nobody uses that one goes whose time would be up first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec

from ...registry.files import ModelFiles
from ..ipc.channel import Addresses
from ..ipc.messages import Done, Serve, Work, as_text
from .asking import Ask, Fault, Health, HostError, Piece, Resident
from .engines import EngineHandle
from .faults import fault_of
from .options import HostOptions
from .room import Need, need_of, no_room
from .texts import TextPool

_CRASHES = 3  # within a minute: a model that ends so often is not loaded again by itself
_MINUTE = 60.0
_BEAT = 0.5  # seconds between two looks at the engines

DRAINING = Fault("unavailable", "the server is shutting down", "ask another one, or later", retry_after=10.0)


@dataclass(slots=True, eq=False)
class _Loaded:
    """A model's place: its engine, who uses it, and when it may go."""

    name: str
    files: ModelFiles
    engine: EngineHandle
    ready: asyncio.Task[None]
    keep_alive: float
    context: int | None
    users: int = 0
    pinned: bool = False
    expires: float | None = None  # monotonic; None while it is used, or for ever
    numbers: set[int] = field(default_factory=set)


class LocalHost:
    """Models on this machine. `find` gives the files of a name, or raises; it is called in a thread."""

    def __init__(self, find: Callable[[str], ModelFiles], memory: int, options: HostOptions) -> None:
        self._find = find
        self._options = options
        self._memory = options.memory or memory
        self._addresses = Addresses()
        self._texts = TextPool(options.text_workers, self._addresses)
        self._models: dict[str, _Loaded] = {}
        self._names: dict[str, str] = {}
        self._planning = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._crashes: dict[str, list[float]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._counters: dict[str, float] = {"requests": 0, "refused": 0, "loads": 0, "crashes": 0}

    async def start(self) -> None:
        await self._texts.start()
        self._spawn(self._beat())

    async def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        self._counters["requests"] += 1
        began = monotonic()
        async with self._using(ask.model, ask.keep_alive, ask.context) as model:
            waited, queued = monotonic() - began, self._queued(model)
            text, number = self._texts.pick(), self._texts.number()
            pieces = text.begin(number, model.name, ask)
            model.numbers.add(number)
            left = ask.params.n
            try:
                first = await pieces.get()
                if first.fault is not None:
                    left = 0
                    raise HostError(first.fault)
                yield msgspec.structs.replace(first, queued=queued, load_seconds=waited)
                while left:
                    piece = await pieces.get()
                    left = (
                        0
                        if piece.fault is not None and piece.usage is None
                        else left - (piece.finish_reason is not None)
                    )
                    yield piece
            finally:
                model.numbers.discard(number)
                text.end(number, abort=left > 0)

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
        done = await self._work(model, "embed", keep_alive=keep_alive, inputs=list(inputs), truncate=truncate)
        return list(zip(done.vectors, done.tokens, strict=True))

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        async with self._using(model, keep_alive, context) as loaded:
            pass
        return self._described(loaded)

    async def unload(self, model: str) -> bool:
        loaded = self._models.get(await self._key(model))
        if loaded is None:
            return False
        loaded.keep_alive, loaded.pinned = 0.0, False
        if not loaded.users:
            await self._let_go(loaded)
        return True

    async def pin(self, model: str, pinned: bool) -> bool:
        loaded = self._models.get(await self._key(model))
        if loaded is None:
            return False
        loaded.pinned = pinned
        self._rest(loaded)
        return True

    async def residents(self) -> list[Resident]:
        return [self._described(loaded) for loaded in self._models.values()]

    async def health(self) -> Health:
        models = await self.residents()
        states = {model.state for model in models}
        state = next((one for one in ("stalled", "failed", "loading") if one in states), "ready")
        return Health(
            state="draining" if self._draining else state,  # type: ignore[arg-type]
            models=models,
            running=sum(model.running for model in models),
            waiting=sum(model.waiting for model in models),
            stalled_seconds=max((loaded.engine.stalled for loaded in self._models.values()), default=0.0),
        )

    async def metrics(self) -> Mapping[str, Mapping[str, float]]:
        numbers = {
            name: {key: float(value) for key, value in loaded.engine.stats.items() if isinstance(value, int | float)}
            for name, loaded in self._models.items()
        }
        return {"": dict(self._counters), **numbers}

    async def drain(self, grace: float) -> None:
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace), self._changed:
                await self._changed.wait_for(lambda: not any(loaded.users for loaded in self._models.values()))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(self._let_go(loaded) for loaded in list(self._models.values())))
        await self._texts.stop()
        self._addresses.close()

    @property
    def pids(self) -> list[int]:
        """The processes that work for it."""
        engines = [loaded.engine.pid for loaded in self._models.values()]
        return [*self._texts.pids, *(pid for pid in engines if pid is not None)]

    @asynccontextmanager
    async def _using(self, name: str, keep_alive: float | None, context: int | None) -> AsyncIterator[_Loaded]:
        """The model, loaded; it stays as long as it is used, and after that as long as was wished."""
        if self._draining:
            raise HostError(DRAINING)
        key = await self._key(name)
        loaded = await self._present(key, context)
        loaded.users += 1
        loaded.expires = None
        if keep_alive is not None:
            loaded.keep_alive = keep_alive
        try:
            await asyncio.shield(loaded.ready)
            yield loaded
        finally:
            loaded.users -= 1
            self._rest(loaded)
            await self._tell_changed()

    async def _key(self, name: str) -> str:
        """The name that the registry knows it by."""
        known = self._names.get(name)
        if known is not None and known in self._models:
            return known
        files = await self._files(name)
        self._names[name] = files.name
        return files.name

    async def _files(self, name: str) -> ModelFiles:
        try:
            return await asyncio.to_thread(self._find, name)
        except Exception as error:  # a door: whatever the registry has against a name
            raise HostError(fault_of(error)) from error

    async def _present(self, key: str, context: int | None) -> _Loaded:
        """Its place, made and filled where there is none. A longer context than it has is a reason to load it anew."""
        loaded = self._models.get(key)
        if loaded is not None and context is not None and loaded.engine.loaded is not None:
            longer = context > loaded.engine.loaded.context and context != loaded.context
            if longer and not loaded.users:
                await self._let_go(loaded)
        if (loaded := self._models.get(key)) is not None:
            return loaded
        files = await self._files(key)
        async with self._planning:
            if (loaded := self._models.get(key)) is not None:
                return loaded
            need = await asyncio.to_thread(need_of, files)
            await self._make_room(key, need)
            return self._place(key, files, need, context)

    def _place(self, key: str, files: ModelFiles, need: Need, context: int | None) -> _Loaded:
        size, cache = need.granted(self._memory - self._held())
        options = {"kv_memory": cache, **self._options.engine}
        if context is not None:
            options["context"] = context
        engine = EngineHandle(files, options, self._addresses.new(), size, lambda: self._died(key, engine))
        ready = self._spawn(self._fill(key, files, engine))
        loaded = _Loaded(key, files, engine, ready, self._options.keep_alive, context)
        self._models[key] = loaded
        self._counters["loads"] += 1
        return loaded

    async def _fill(self, key: str, files: ModelFiles, engine: EngineHandle) -> None:
        try:
            async with asyncio.timeout(self._options.load_timeout):
                there = await engine.start()
                await self._texts.serve(
                    Serve(key=key, files=as_text(files), engine=engine.address, context=there.context)
                )
        except (HostError, TimeoutError) as error:
            self._models.pop(key, None)
            await engine.stop()
            await self._tell_changed()
            if isinstance(error, HostError):
                raise
            raise HostError(
                Fault("unavailable", f"{key} was not loaded within {self._options.load_timeout:.0f} s")
            ) from None

    async def _make_room(self, name: str, need: Need) -> None:
        """See that it fits; who is idle goes, and who is not is waited for."""
        if need.least > self._memory:
            raise no_room(name, need, self._memory, self._memory)
        while need.least > self._memory - self._held():
            idle = [one for one in self._models.values() if not one.users and not one.pinned and one.ready.done()]
            if idle:
                await self._let_go(min(idle, key=_life))
                continue
            pinned = sum(one.engine.size for one in self._models.values() if one.pinned)
            if need.least > self._memory - pinned:
                raise no_room(name, need, self._memory - pinned, self._memory)
            await self._wait_for_change(name, need)

    async def _wait_for_change(self, name: str, need: Need) -> None:
        try:
            async with asyncio.timeout(self._options.load_timeout), self._changed:
                await self._changed.wait()
        except TimeoutError:
            raise no_room(name, need, self._memory - self._held(), self._memory) from None

    def _held(self) -> int:
        return sum(loaded.engine.size for loaded in self._models.values())

    def _queued(self, model: _Loaded) -> int:
        """How many stand in line before the next one; raises when there is no place in it."""
        line = len(model.numbers) - int(model.engine.options.get("sequences", 128))
        if line >= self._options.max_queue:
            self._counters["refused"] += 1
            raise HostError(
                Fault(
                    "busy",
                    f"{line} requests wait for {model.name} already",
                    "ask again later",
                    retry_after=float(min(60, 1 + line)),
                    numbers={"waiting": line, "max_queue": self._options.max_queue},
                )
            )
        return max(line, 0)

    def _rest(self, loaded: _Loaded) -> None:
        """Nobody uses it any more, perhaps: its time begins to run."""
        if loaded.users or self._models.get(loaded.name) is not loaded:
            return
        forever = loaded.pinned or loaded.keep_alive < 0
        loaded.expires = None if forever else monotonic() + loaded.keep_alive
        if loaded.expires is not None and loaded.keep_alive == 0:
            self._spawn(self._let_go(loaded))

    async def _let_go(self, loaded: _Loaded) -> None:
        if self._models.get(loaded.name) is loaded:
            del self._models[loaded.name]
            self._texts.leave(loaded.name)
            await loaded.engine.stop()
        await self._tell_changed()

    def _died(self, key: str, engine: EngineHandle) -> None:
        """The engine has ended unasked. It is started anew, unless it does that all the time."""
        loaded = self._models.get(key)
        if loaded is None or loaded.engine is not engine:
            return
        del self._models[key]
        self._texts.leave(key)
        self._counters["crashes"] += 1
        crashes = [when for when in self._crashes.get(key, []) if when > monotonic() - _MINUTE] + [monotonic()]
        self._crashes[key] = crashes
        if len(crashes) < _CRASHES and loaded.ready.done() and not self._draining:
            self._spawn(self._again(loaded))

    async def _again(self, gone: _Loaded) -> None:
        with suppress(HostError):
            anew = await self._present(gone.name, gone.context)
            anew.keep_alive, anew.pinned = gone.keep_alive, gone.pinned
            await asyncio.shield(anew.ready)
            self._rest(anew)

    async def _work(self, model: str, kind: str, keep_alive: float | None = None, **what: Any) -> Done:
        async with self._using(model, keep_alive, None) as loaded:
            message = Work(number=self._texts.number(), key=loaded.name, kind=kind, **what)
            return await self._texts.pick().work(message)

    async def _beat(self) -> None:
        """See how the engines are, and let go whose time is up."""
        while True:
            await asyncio.sleep(_BEAT)
            for loaded in list(self._models.values()):
                loaded.engine.ask_how_it_is(self._options.stalled_after)
                if loaded.expires is not None and loaded.expires <= monotonic() and not loaded.users:
                    self._spawn(self._let_go(loaded))

    async def _tell_changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _described(self, loaded: _Loaded) -> Resident:
        return loaded.engine.described(loaded.name, loaded.expires, pinned=loaded.pinned, running=len(loaded.numbers))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _life(loaded: _Loaded) -> float:
    """When its time would be up."""
    return float("inf") if loaded.expires is None else loaded.expires

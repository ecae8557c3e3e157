"""The host: passes on what is asked of models, and tells how they are.

The keeper has a model loaded for as long as it is asked; a text process turns what is asked to tokens, and what the
engine says of them back to text.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

import msgspec

from ...registry.files import ModelFiles
from ..ipc.channel import Addresses
from ..ipc.messages import Done, Work
from .asking import Ask, Fault, Health, HostError, Piece, Resident
from .faults import ENGINE_GONE
from .keeper import DRAINING, Keeper
from .line import Line
from .measures import Measures
from .options import HostOptions
from .places import Place
from .text_pool import TextPool
from .texts import DIED as TEXT_GONE


class LocalHost:
    """Models on this machine. `find` gives the files of a name, or raises; it is called in a thread."""

    def __init__(self, find: Callable[[str], ModelFiles], memory: int, options: HostOptions) -> None:
        self._addresses = Addresses()
        self._texts = TextPool(options.text_workers, self._addresses)
        self._keeper = Keeper(find, options.memory or memory, options, self._texts, self._addresses, self._note_loading)
        self._line = Line(options.running, options.max_queue)
        self._measures: dict[str, Measures] = {}
        self._requests = 0
        self._is_open = False

    async def start(self) -> None:
        await self._texts.start()
        self._keeper.start()

    def open(self) -> None:
        """Say that all is loaded that was to be loaded at the start: until then it is not called ready."""
        self._is_open = True

    async def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        self._requests += 1
        began = monotonic()
        key = await self._keeper.key(ask.model)
        with self._line.place(key) as queued:
            for is_first in (True, False):
                place, has_begun = self._keeper.places.get(key), False
                try:
                    async with aclosing(self._told(key, ask, began, queued)) as pieces:
                        async for piece in pieces:
                            has_begun = True
                            yield piece
                    return
                except HostError as error:  # what died before it said anything is asked anew, once
                    if has_begun or not is_first or error.fault not in (ENGINE_GONE, TEXT_GONE):
                        raise
                await self._keeper.noticed(key, place)

    async def _told(self, key: str, ask: Ask, began: float, queued: int) -> AsyncGenerator[Piece, None]:
        async with self._keeper.using(key, ask.keep_alive, ask.context) as place:
            text, number = await self._texts.pick(place.key), self._texts.number()
            waited, pieces = monotonic() - began, text.begin(number, place.key, ask)
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
        with self._line.place(await self._keeper.key(model)):
            done = await self._work(model, "embed", keep_alive=keep_alive, inputs=list(inputs), truncate=truncate)
        return list(zip(done.vectors, done.tokens, strict=True))

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        async with self._keeper.using(await self._keeper.key(model), keep_alive, context) as place:
            pass
        return self._described(place)

    async def unload(self, model: str) -> bool:
        return await self._keeper.unload(await self._keeper.key(model))

    async def pin(self, model: str, pinned: bool) -> bool:
        return await self._keeper.pin(await self._keeper.key(model), pinned)

    async def residents(self) -> list[Resident]:
        places, looping = self._keeper.places, self._keeper.crashes.looping()
        return [*map(self._described, places.values()), *(_failed(name) for name in looping if name not in places)]

    async def health(self) -> Health:
        models = await self.residents()
        states = {model.state for model in models}
        usual = "ready" if self._is_open else "loading"
        state = next((one for one in ("stalled", "failed", "loading") if one in states), usual)
        return Health(
            state="draining" if self._keeper.draining else state,  # type: ignore[arg-type]
            models=models,
            running=sum(model.running for model in models),
            waiting=sum(model.waiting for model in models),
            stalled_seconds=max((place.engine.stalled for place in self._keeper.places.values()), default=0.0),
        )

    async def metrics(self) -> Mapping[str, Mapping[str, float]]:
        places = self._keeper.places
        numbers = {
            name: {key: float(value) for key, value in place.engine.stats.items() if isinstance(value, int | float)}
            for name, place in places.items()
        }
        own = {
            "requests": self._requests,
            **self._keeper.counters,
            "refused": self._line.refused,
            "text_deaths": self._texts.deaths,
            "models": len(places),
            "memory_bytes": self._keeper.memory,
            "memory_reserved_bytes": self._keeper.held,
        }
        return {"": own, **numbers}

    def measures(self) -> Mapping[str, Measures]:
        """What was measured of each model's answers since the start."""
        return self._measures

    async def drain(self, grace: float) -> None:
        await self._keeper.drain(grace)
        await self._texts.stop()
        self._addresses.close()

    @property
    def pids(self) -> list[int]:
        """The processes that work for it."""
        engines = [place.engine.pid for place in self._keeper.places.values()]
        return [*self._texts.pids, *(pid for pid in engines if pid is not None)]

    async def _work(self, model: str, kind: str, keep_alive: float | None = None, **what: Any) -> Done:
        async with self._keeper.using(await self._keeper.key(model), keep_alive, None) as place:
            text = await self._texts.pick(place.key)
            return await text.work(Work(number=self._texts.number(), key=place.key, kind=kind, **what))

    def _noted(self, key: str, piece: Piece) -> Piece:
        if piece.finish_reason is not None:
            self._measured(key).note(piece)
        return piece if piece.fault is None else msgspec.structs.replace(piece, fault=self._worded(piece.fault))

    def _note_loading(self, key: str, seconds: float) -> None:
        self._measured(key).load.note(seconds)

    def _measured(self, key: str) -> Measures:
        return self._measures.setdefault(key, Measures())

    def _worded(self, fault: Fault) -> Fault:
        """What is broken off while the server shuts down says so."""
        return DRAINING if self._keeper.draining and fault.kind == "unavailable" else fault

    def _described(self, place: Place) -> Resident:
        return place.described(self._line.asked(place.name))


def _failed(name: str) -> Resident:
    return Resident(
        name=name, state="failed", size=0, device="", context=0, expires=None, pinned=False, running=0, waiting=0
    )

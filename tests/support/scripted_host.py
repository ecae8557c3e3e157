"""A host without models for tests of what stands before it: it says what a test tells it to, at the pace it is told."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from unillm.registry.settings import RegistrySettings
from unillm.runtime.hosting.asking import Ask, Fault, Health, HostError, Piece, Resident
from unillm.runtime.hosting.measures import Measures
from unillm.runtime.results import Timings, Usage
from unillm.runtime.server.catalogue import Catalogue
from unillm.runtime.server.connections import Connection
from unillm.runtime.server.endpoint import Server
from unillm.runtime.server.guard import Rules
from unillm.runtime.server.serving import built
from unillm.runtime.server.table import ENDPOINTS
from unillm.tests.support.serving import free_port

GIB = 1 << 30


@dataclass
class Script:
    """One answer: `thoughts`, `texts`, then `fault` or a good end. `refused` comes before all; `held` stops it before
    the last text.
    """

    texts: Sequence[str] = ()
    thoughts: Sequence[str] = ()
    fault: Fault | None = None
    refused: Fault | None = None
    held: bool = False
    usage: Usage = field(default_factory=lambda: Usage(12, 8, 0))
    finish: str = "stop"
    queued: int = 0
    aborted: bool = False


def resident(name: str, context: int = 2048, size: int = GIB) -> Resident:
    """A model that is loaded."""
    return Resident(
        name=name,
        state="ready",
        size=size,
        device="cpu",
        context=context,
        expires=None,
        pinned=False,
        running=0,
        waiting=0,
    )


@dataclass
class ScriptedHost:
    """It answers by the next script, and by what it was told last where there is none."""

    scripts: deque[Script] = field(default_factory=deque)
    asked: list[Ask] = field(default_factory=list)
    loaded: list[Resident] = field(default_factory=list)
    memory: int = 8 * GIB
    reserved: int = GIB

    def says(self, *texts: str, **how: Any) -> Script:
        script = Script(texts, **how)
        self.scripts.append(script)
        return script

    async def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        self.asked.append(ask)
        last = (ask.messages or [{"content": ""}])[-1]["content"]
        script = self.scripts.popleft() if self.scripts else Script(["You said: ", last])
        if script.refused is not None:
            raise HostError(script.refused)
        try:
            yield Piece(prompt_tokens=[1], queued=script.queued)
            async for piece in _told(script):
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            script.aborted = True
            raise

    async def render(self, ask: Ask) -> str:
        return ""

    async def count(self, ask: Ask) -> int:
        return 1

    async def encode(self, model: str, text: str, *, special: bool = False) -> list[int]:
        return list(text.encode())

    async def decode(self, model: str, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    async def embed(
        self, model: str, inputs: Sequence[str | list[int]], *, truncate: bool, keep_alive: float | None
    ) -> list[tuple[list[float], int]]:
        return [([1.0], 1) for _ in inputs]

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        return resident(model)

    async def unload(self, model: str) -> bool:
        return False

    async def pin(self, model: str, pinned: bool) -> bool:
        return False

    async def residents(self) -> list[Resident]:
        return self.loaded

    async def health(self) -> Health:
        return Health(state="ready", models=self.loaded, running=0, waiting=0)

    async def metrics(self) -> Mapping[str, Mapping[str, float]]:
        return {"": {"memory_bytes": self.memory, "memory_reserved_bytes": self.reserved}}

    def measures(self) -> Mapping[str, Measures]:
        return {}

    async def drain(self, grace: float) -> None:
        return


async def _told(script: Script) -> AsyncIterator[Piece]:
    for thought in script.thoughts:
        yield Piece(thought=thought)
    for place, text in enumerate(script.texts):
        while script.held and place == len(script.texts) - 1:
            await asyncio.sleep(0.005)
        yield Piece(text=text)
        await asyncio.sleep(0.002)
    if script.fault is not None:
        yield Piece(finish_reason="error", fault=script.fault)
        return
    timings = Timings(queued=0.0, first_token=0.1, total=0.6, prompt_tokens_per_second=1.0, tokens_per_second=14.0)
    yield Piece(finish_reason=script.finish, usage=script.usage, timings=timings)  # type: ignore[arg-type]


@dataclass
class Listening:
    """A server at `url` before `host`. It may go away, and come back at the same place."""

    host: ScriptedHost
    settings: RegistrySettings
    rules: Rules
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        app = built(Server(self.host, Catalogue(self.settings), "1"), ENDPOINTS, self.rules)
        config = uvicorn.Config(
            app,
            port=self.port,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)

    def stop(self) -> None:
        """Connections are cut, whatever is on them."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)


@contextmanager
def listening(
    settings: RegistrySettings, rules: Rules | None = None, host: ScriptedHost | None = None
) -> Iterator[Listening]:
    """Until the block ends."""
    place = Listening(host or ScriptedHost(), settings, rules or Rules())
    place.start()
    try:
        yield place
    finally:
        with suppress(RuntimeError):
            place.stop()

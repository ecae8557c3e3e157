"""A host of models for tests: it runs in a thread of its own, and tests ask it as if it were no coroutine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from unillm.registry.errors import ModelNotFound
from unillm.registry.files import ModelFiles
from unillm.registry.names import ModelRef
from unillm.registry.sources.local import files_in_place
from unillm.runtime.hosting.asking import Ask, Piece
from unillm.runtime.hosting.host import LocalHost
from unillm.runtime.hosting.options import HostOptions
from unillm.runtime.params import SamplingParams

T = TypeVar("T")
GREEDY = SamplingParams(temperature=0, max_tokens=16)


def asked(model: str, text: str = "Once", **changes: Any) -> Ask:
    """A greedy question for `model`; `changes` are those of its parameters."""
    return Ask(model=model, text=text, params=replace(GREEDY, **changes))


class Hosted:
    """`host` with the loop that it runs in."""

    def __init__(self, folders: Mapping[str, Path], memory: int, options: HostOptions) -> None:
        self.folders = dict(folders)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.host: LocalHost = self.do(self._made(memory, options))

    def do(self, work: Coroutine[Any, Any, T], timeout: float = 120) -> T:
        """What comes of `work`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def pieces(self, ask: Ask) -> list[Piece]:
        return self.do(_all(self.host.ask(ask)))

    def text(self, ask: Ask) -> str:
        """The whole answer; a fault in it is raised."""
        return said(self.pieces(ask))

    def names(self) -> set[str]:
        """The models that are ready."""
        return {one.name for one in self.do(self.host.residents()) if one.state == "ready"}

    def close(self, grace: float = 0.0) -> None:
        self.do(self.host.drain(grace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _made(self, memory: int, options: HostOptions) -> LocalHost:
        host = LocalHost(self._find, memory, options)
        await host.start()
        host.open()
        return host

    def _find(self, name: str) -> ModelFiles:
        if name not in self.folders:
            raise ModelNotFound(name)
        return replace(files_in_place(ModelRef.parse(str(self.folders[name]))), name=name)


@contextmanager
def hosting(folders: Mapping[str, Path], memory: int = 4 << 30, **options: Any) -> Iterator[Hosted]:
    hosted = Hosted(folders, memory, HostOptions(**options))
    try:
        yield hosted
    finally:
        hosted.close()


def said(pieces: list[Piece]) -> str:
    for piece in pieces:
        if piece.fault is not None:
            raise AssertionError(piece.fault)
    return "".join(piece.text for piece in pieces)


def until(is_so: Callable[[], Any], within: float = 30.0) -> float:
    """Wait until `is_so`; for how many seconds."""
    began = monotonic()
    while not is_so():
        if monotonic() - began > within:
            raise AssertionError(f"not within {within} s")
        sleep(0.02)
    return monotonic() - began


async def together(*work: Awaitable[Any]) -> list[Any]:
    """What comes of each, errors as values."""
    return list(await asyncio.gather(*work, return_exceptions=True))


async def _all(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]

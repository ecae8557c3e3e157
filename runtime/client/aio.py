"""A running server for programs with an event loop: `Client`, its methods awaited."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from ..errors import ServerUnreachable
from ..hosting.asking import Resident
from ..params import SamplingParams
from ..results import Completion, Update
from . import wire
from .wire import About, InstalledModel, Offered, PullStatus, Reading, ShownModel


class AsyncClient:
    """As `Client`; what streams there is an asynchronous iterator here."""

    def __init__(self, host: str | None = None, *, key: str | None = None) -> None:
        self.url = wire.base_url(host)
        timeout = httpx.Timeout(None, connect=wire.TO_CONNECT)
        self._http = httpx.AsyncClient(base_url=self.url, headers=wire.headers(key), timeout=timeout, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def about(self, *, within: float = wire.TO_CONNECT) -> About:
        about = wire.read_about(await self._asked("GET", "/about", timeout=within))
        if about is None:
            raise ServerUnreachable(self.url, "another program answers there")
        return about

    async def generate(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        model: str,
        raw: bool = False,
        keep_alive: float | None = None,
    ) -> Completion:
        return await self._whole(self.stream(prompt, params, model=model, raw=raw, keep_alive=keep_alive))

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        model: str,
        keep_alive: float | None = None,
        **offered: Unpack[Offered],
    ) -> Completion:
        return await self._whole(self.stream(messages, params, model=model, keep_alive=keep_alive, **offered))

    async def stream(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        model: str,
        raw: bool = False,
        keep_alive: float | None = None,
        **offered: Unpack[Offered],
    ) -> AsyncIterator[Update]:
        body = wire.question(model, prompt, params or SamplingParams(), raw=raw, keep_alive=keep_alive, **offered)
        reading = Reading("")
        async with self._lines("/answer", body) as lines:
            async for line in lines:
                update = reading.take(wire.read_piece(line))
                if update is not None:
                    yield update

    async def count(self, prompt: str | Sequence[Mapping[str, Any]], *, model: str) -> int:
        return wire.read_count(await self._asked("POST", "/count", wire.question(model, prompt, SamplingParams())))

    async def models(self) -> list[InstalledModel]:
        return wire.read_models(await self._asked("GET", "/api/tags"))

    async def show(self, model: str) -> ShownModel:
        return wire.read_shown(await self._asked("POST", "/api/show", {"model": model}))

    async def create(self, name: str, source: str, **recipe: Any) -> None:
        async with self._lines("/api/create", {"model": name, "from": source, **recipe}) as lines:
            async for line in lines:
                wire.read_status(line)

    async def ps(self) -> list[Resident]:
        return wire.read_residents(await self._asked("GET", "/residents"))

    async def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        wanted = {"model": model, "keep_alive": keep_alive, "context": context}
        return wire.read_resident(await self._asked("POST", "/v1/models/load", wanted))

    async def stop(self, model: str) -> None:
        await self._asked("POST", "/v1/models/unload", {"model": model})

    async def pin(self, model: str, pinned: bool = True) -> None:
        await self._asked("POST", "/v1/models/pin", {"model": model, "pinned": pinned})

    async def pull(self, model: str) -> AsyncIterator[PullStatus]:
        async with self._lines("/api/pull", {"model": model}) as lines:
            async for line in lines:
                yield wire.read_status(line)

    async def _whole(self, updates: AsyncIterator[Update]) -> Completion:
        ended = [update async for update in updates if update.completion is not None]
        reading = Reading("", completions={one.choice: one.completion for one in ended if one.completion is not None})
        return reading.completion()

    async def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> bytes:
        try:
            response = await self._http.request(method, path, json=body, **how)
        except httpx.HTTPError as error:
            raise ServerUnreachable(self.url, wire.reason(error)) from error
        if response.status_code != 200:
            raise wire.refusal(response.status_code, response.content)
        return response.content

    @asynccontextmanager
    async def _lines(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
        try:
            async with self._http.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    raise wire.refusal(response.status_code, await response.aread())
                yield (line async for line in response.aiter_lines() if line)
        except httpx.HTTPError as error:
            raise ServerUnreachable(self.url, wire.reason(error)) from error

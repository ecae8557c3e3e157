"""A running server for programs without an event loop."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from ..errors import ServerUnreachable
from ..hosting.asking import Resident
from ..params import SamplingParams
from ..results import Completion, Update
from . import wire
from .wire import About, InstalledModel, Offered, PullStatus, Reading, ShownModel


class Client:
    """Asks the server at `host` (UNILLM_HOST where not said), with `key` (UNILLM_API_KEY) where it wants one.

    Every method raises `ServerUnreachable` where no server is, and `ServerRefused` for what it refuses.
    """

    def __init__(self, host: str | None = None, *, key: str | None = None) -> None:
        self.url = wire.base_url(host)
        timeout = httpx.Timeout(None, connect=wire.TO_CONNECT)
        self._http = httpx.Client(base_url=self.url, headers=wire.headers(key), timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def about(self, *, within: float = wire.TO_CONNECT) -> About:
        """Which version it is. Raises `ServerUnreachable` too where another program answers."""
        about = wire.read_about(self._asked("GET", "/about", timeout=within))
        if about is None:
            raise ServerUnreachable(self.url, "another program answers there")
        return about

    def generate(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        model: str,
        raw: bool = False,
        keep_alive: float | None = None,
    ) -> Completion:
        """The whole answer to `prompt`, which is a user's words in a conversation unless it is `raw`."""
        return _whole(self.stream(prompt, params, model=model, raw=raw, keep_alive=keep_alive))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        model: str,
        keep_alive: float | None = None,
        **offered: Unpack[Offered],
    ) -> Completion:
        """The whole answer to a conversation, for which tools may be `offered`."""
        return _whole(self.stream(messages, params, model=model, keep_alive=keep_alive, **offered))

    def stream(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        *,
        model: str,
        raw: bool = False,
        keep_alive: float | None = None,
        **offered: Unpack[Offered],
    ) -> Iterator[Update]:
        """The answer to text or to a conversation as it comes. Closing the iterator ends the request."""
        body = wire.question(model, prompt, params or SamplingParams(), raw=raw, keep_alive=keep_alive, **offered)
        return self.read(body, Reading(""))

    def read(self, question: Mapping[str, Any], reading: Reading) -> Generator[Update, None, None]:
        """The answer to a body of `wire.question`, as `reading` reads it."""
        with self._lines("/answer", question) as lines:
            for line in lines:
                update = reading.take(wire.read_piece(line))
                if update is not None:
                    yield update

    def count(self, prompt: str | Sequence[Mapping[str, Any]], *, model: str) -> int:
        """How many tokens a prompt has, nothing computed."""
        return wire.read_count(self._asked("POST", "/count", wire.question(model, prompt, SamplingParams())))

    def models(self) -> list[InstalledModel]:
        """What is installed there, the newest first."""
        return wire.read_models(self._asked("GET", "/api/tags"))

    def show(self, model: str) -> ShownModel:
        """What a model is."""
        return wire.read_shown(self._asked("POST", "/api/show", {"model": model}))

    def create(self, name: str, source: str, **recipe: Any) -> None:
        """Make a model of `source`, with the system, parameters and messages of `recipe` pinned to it."""
        with self._lines("/api/create", {"model": name, "from": source, **recipe}) as lines:
            for line in lines:
                wire.read_status(line)

    def ps(self) -> list[Resident]:
        """What is loaded."""
        return wire.read_residents(self._asked("GET", "/residents"))

    def load(self, model: str, *, keep_alive: float | None = None, context: int | None = None) -> Resident:
        wanted = {"model": model, "keep_alive": keep_alive, "context": context}
        return wire.read_resident(self._asked("POST", "/v1/models/load", wanted))

    def stop(self, model: str) -> None:
        """Let a model go as soon as nobody uses it."""
        self._asked("POST", "/v1/models/unload", {"model": model})

    def pin(self, model: str, pinned: bool = True) -> None:
        """Keep a loaded model, or no longer."""
        self._asked("POST", "/v1/models/pin", {"model": model, "pinned": pinned})

    def pull(self, model: str) -> Iterator[PullStatus]:
        """Have the server fetch a model; what it tells of it comes as it goes on."""
        with self._lines("/api/pull", {"model": model}) as lines:
            yield from map(wire.read_status, lines)

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> bytes:
        try:
            response = self._http.request(method, path, json=body, **how)
        except httpx.HTTPError as error:
            raise ServerUnreachable(self.url, wire.reason(error)) from error
        if response.status_code != 200:
            raise wire.refusal(response.status_code, response.content)
        return response.content

    @contextmanager
    def _lines(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    raise wire.refusal(response.status_code, response.read())
                yield (line for line in response.iter_lines() if line)
        except httpx.HTTPError as error:
            raise ServerUnreachable(self.url, wire.reason(error)) from error


def _whole(updates: Iterator[Update]) -> Completion:
    ended = {update.choice: update.completion for update in updates if update.completion is not None}
    return Reading("", completions=ended).completion()

"""Runs the server: opens the port, starts the host, and ends in good order.

The first signal lets running answers end within a time of grace while what is new is refused; the second ends at once.
"""

import asyncio
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ...registry.memory import room_for_a_model
from ...registry.settings import RegistrySettings
from ..hosting.asking import HostError
from ..hosting.host import LocalHost
from ..hosting.options import HostOptions
from . import sockets
from .app import application, dialect_at, new_id, refusal
from .catalogue import Catalogue, served_names
from .connections import MOST_HEAD, Connection
from .endpoint import Endpoint, Server
from .errors import BadCertificate, NotServed
from .guard import Guard, Rules
from .table import ENDPOINTS

GRACE = 30.0  # seconds that running answers get to end
_FAREWELL = 5.0  # seconds that clients get to read what is left
_IDLE_WITHIN = 60  # seconds that a connection may idle between requests
_OWN_FILES = 64  # descriptors that connections leave to the rest of the process
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """`models` are loaded at the start; they go as all others do when their keep-alive is over."""

    host: str = "127.0.0.1"
    port: int = 8080
    models: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    version: str = ""
    hosting: HostOptions = field(default_factory=HostOptions)


Said = Callable[[str], None]


def serve(options: ServeOptions, settings: RegistrySettings, said: Said) -> None:
    """Until a signal comes. Raises `CannotListen`, `BadCertificate`, `NotServed`, or what the registry has to say."""
    catalogue = Catalogue(settings, served_names(options.models))
    for model in options.models:
        catalogue.files(model)  # raises for a name that is none, before anything is begun
    most = _most_connections()
    bound = sockets.listening(options.host, options.port)
    try:
        asyncio.run(_serve(options, catalogue, bound, most, said))
    finally:
        sockets.close(bound, options.host)


async def _serve(options: ServeOptions, catalogue: Catalogue, bound: list[Any], most: int, said: Said) -> None:
    host = LocalHost(catalogue.files, room_for_a_model(catalogue.settings.memory).size, options.hosting)
    app = built(Server(host, catalogue, options.version), ENDPOINTS, options.rules)
    server = _Uvicorn(_config(options, app, most), host)
    loading = asyncio.create_task(_load(host, options.models, said))
    try:
        with server.heeding_signals(loading.cancel):
            serving = asyncio.create_task(server.serve(bound))
            said(f"listening on {sockets.shown(options.host, bound, 'https' if options.tls_cert else 'http')}")
            await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done() and not loading.cancelled() and loading.exception() is not None:
                server.should_exit = server.force_exit = True
            await serving
        with suppress(asyncio.CancelledError):
            await loading
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await host.drain(0)


async def _load(host: LocalHost, models: Sequence[str], said: Said) -> None:
    try:
        await host.start()
        for model in models:
            said(f"loading {model}")
            resident = await host.load(model)
            said(f"{resident.name} is ready, with a context of {resident.context} tokens")
    except HostError as error:
        fault = error.fault
        raise NotServed(fault.message, fault.hint, for_memory=fault.kind == "no_memory") from None
    host.open()


def built(server: Server, endpoints: Sequence[Endpoint], rules: Rules) -> ASGIApp:
    """The whole application: the guard before the routes."""
    free = frozenset(endpoint.path for endpoint in endpoints if endpoint.open_to_all)
    return Guard(
        application(server, endpoints),
        replace(rules, open_paths=free),
        lambda path, *why: refusal(dialect_at(endpoints, path), *why),
        new_id,
    )


class _Uvicorn(uvicorn.Server):
    """Uvicorn, which lets the host end what runs before it ends itself."""

    def __init__(self, config: uvicorn.Config, host: LocalHost) -> None:
        super().__init__(config)
        self._host = host
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def heeding_signals(self, first: Callable[[], Any]) -> Iterator[None]:
        """Within, signals end the server; `first` is called before anything else."""
        loop = asyncio.get_running_loop()

        def heed() -> None:
            if self._draining is not None:
                self.should_exit = self.force_exit = True
                return
            first()
            self._draining = loop.create_task(self._drain())

        before = {one: signal.getsignal(one) for one in _SIGNALS}
        for one in _SIGNALS:
            if sys.platform == "win32":
                signal.signal(one, lambda _signal, _frame: loop.call_soon_threadsafe(heed))
            else:
                loop.add_signal_handler(one, heed)
        try:
            yield
        finally:
            for one, handler in before.items():
                if sys.platform != "win32":
                    loop.remove_signal_handler(one)
                signal.signal(one, handler)
            if self._draining is not None:
                self._draining.cancel()

    def capture_signals(self) -> Any:
        """They are heeded already, from before models are loaded."""
        return nullcontext()

    async def _drain(self) -> None:
        await self._host.drain(GRACE)
        self.should_exit = True


def _config(options: ServeOptions, app: ASGIApp, most: int) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        ssl_certfile=None if options.tls_cert is None else str(options.tls_cert),
        ssl_keyfile=None if options.tls_key is None else str(options.tls_key),
        ssl_keyfile_password="",  # OpenSSL would ask for one on the terminal
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=most,
        timeout_keep_alive=_IDLE_WITHIN,
        timeout_graceful_shutdown=int(_FAREWELL),
        h11_max_incomplete_event_size=MOST_HEAD,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise BadCertificate(str(options.tls_cert), str(options.tls_key), reason) from None
    return config


def _most_connections() -> int:
    """As many as this process may have files open, having asked the system for as many as it gives."""
    if sys.platform == "win32":
        return 1 << 14
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else hard
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - _OWN_FILES, 16)

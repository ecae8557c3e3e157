"""Runs the server: opens the port, starts the host, and ends in good order.

The first signal lets running answers end within a time of grace while what is new is refused; the second ends at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ...registry.memory import room_for_a_model
from ...registry.settings import RegistrySettings
from ..hosting.host import LocalHost
from ..hosting.options import HostOptions
from .app import application
from .catalogue import Catalogue
from .endpoint import Endpoint, Server
from .guard import Guard, Rules
from .table import ENDPOINTS

GRACE = 30.0
_HEAD_WITHIN = 60  # seconds that a connection may idle between requests


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """`models` are loaded at the start and stay pinned for as long as their keep-alive says."""

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
    """Until a signal comes."""
    asyncio.run(_serve(options, settings, said))


async def _serve(options: ServeOptions, settings: RegistrySettings, said: Said) -> None:
    catalogue = Catalogue(settings)
    host = LocalHost(catalogue.files, room_for_a_model(settings.memory).size, options.hosting)
    await host.start()
    app = built(Server(host, catalogue, options.version), ENDPOINTS, options.rules)
    server = _Uvicorn(_config(options, app), host)
    try:
        for model in options.models:
            said(f"loading {model}")
            await host.load(model)
        scheme = "https" if options.tls_cert else "http"
        said(f"listening on {scheme}://{_shown(options.host)}:{options.port}")
        await server.serve()
    finally:
        await host.drain(0 if server.force_exit else GRACE)


def built(server: Server, endpoints: Sequence[Endpoint], rules: Rules) -> ASGIApp:
    """The whole application: the guard before the routes."""
    return Guard(application(server, endpoints), rules)


class _Uvicorn(uvicorn.Server):
    """Uvicorn, which tells the host first that the end is near."""

    def __init__(self, config: uvicorn.Config, host: LocalHost) -> None:
        super().__init__(config)
        self._host = host
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining is not None:
            self.force_exit = True
        else:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._host.drain(GRACE)
        self.should_exit = True


def _config(options: ServeOptions, app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        ssl_certfile=None if options.tls_cert is None else str(options.tls_cert),
        ssl_keyfile=None if options.tls_key is None else str(options.tls_key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_HEAD_WITHIN,
        server_header=False,
        h11_max_incomplete_event_size=64 << 10,
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host

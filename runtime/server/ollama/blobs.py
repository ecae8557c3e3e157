"""Files sent to the server, by their checksums: what `create` makes models of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response

from ....registry.errors import ChecksumMismatch, RegistryError
from ....registry.settings import RegistrySettings
from ....registry.store import Store
from ....registry.uploads import Upload, is_here
from ...hosting.asking import HostError
from ...hosting.faults import fault_of
from ..endpoint import Server, invalid
from .library import digest

_AT_ONCE = 1 << 20  # bytes that are written together


async def has_blob(server: Server, _body: None, request: Request) -> Response:
    wanted = digest(request.path_params["digest"])
    here = await asyncio.to_thread(is_here, wanted, server.catalogue.settings)
    return Response(status_code=200 if here else 404)


async def send_blob(server: Server, _body: None, request: Request) -> Response:
    """201 when it is new, 200 when it was here already; then nothing of the body is read."""
    wanted = digest(request.path_params["digest"])
    settings = server.catalogue.settings
    if await asyncio.to_thread(is_here, wanted, settings):
        return Response()
    declared = request.headers.get("content-length", "")
    try:
        async with _undisturbed(settings):
            with Upload(wanted, settings, int(declared) if declared.isdigit() else None) as upload:
                await _receive(request, upload)
                await asyncio.to_thread(upload.finish)
    except ChecksumMismatch as error:
        raise invalid("digest", f'digest mismatch, expected "{error.want}", got "{error.got}"') from None
    except RegistryError as error:
        raise HostError(fault_of(error)) from error
    return Response(status_code=201)


@asynccontextmanager
async def _undisturbed(settings: RegistrySettings) -> AsyncIterator[None]:
    """Nothing is pruned meanwhile; who prunes is waited for elsewhere than here, where everybody is answered."""
    working = Store(settings.home).working()
    await asyncio.to_thread(working.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(working.__exit__, None, None, None)


async def _receive(request: Request, upload: Upload) -> None:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size >= _AT_ONCE:
            await asyncio.to_thread(upload.write, b"".join(parts))
            parts, size = [], 0
    await asyncio.to_thread(upload.write, b"".join(parts))

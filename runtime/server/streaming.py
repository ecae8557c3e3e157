"""Answers that come in pieces: what goes wrong before the first has its status, what goes wrong later its last words.

A client that goes away closes the iterator of pieces, which aborts the request.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..hosting.asking import Ask, Host, HostError, Piece
from .endpoint import INTERNAL, Dialect, Refused

_LOG = logging.getLogger(__name__)

Render = Callable[[Piece], Iterable[bytes]]


async def gather(host: Host, ask: Ask) -> list[Piece]:
    """Every piece of an answer: the first one, which tells of the prompt, then those with text. Raises `Refused`."""
    try:
        async with aclosing(_closing(host.ask(ask))) as pieces:
            gathered = [piece async for piece in pieces]
    except HostError as error:
        raise Refused(error.fault) from None
    for piece in gathered:
        if piece.fault is not None:
            raise Refused(piece.fault)
    return gathered


async def stream(
    host: Host, ask: Ask, request: Request, dialect: Dialect, render: Render, end: bytes, kind: str
) -> Response:
    """The pieces as `render` writes them, and `end` behind the last. The first piece decides the status."""
    pieces = _closing(host.ask(ask))
    try:
        first = await anext(pieces)
    except HostError as error:
        raise Refused(error.fault) from None
    request_id: str = request.state.id

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            try:
                for part in render(first):
                    yield part
                async for piece in pieces:
                    if piece.fault is not None:
                        yield dialect.event(piece.fault, request_id)
                        return
                    for part in render(piece):
                        yield part
            except HostError as error:
                yield dialect.event(error.fault, request_id)
                return
            except Exception:  # a door: the status is out, the stream can only say that it broke
                _LOG.exception("request %s broke off", request_id)
                yield dialect.event(INTERNAL, request_id)
                return
            if end:
                yield end

    headers = {"X-Queue-Position": str(first.queued), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type=kind, headers=headers)


async def _closing(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece, None]:
    """A generator in any case, so that it can be closed."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()

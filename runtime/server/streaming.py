"""Answers that come in pieces: what goes wrong before the first has its status, what goes wrong later its last words.

A client that goes away closes the iterator of pieces, which aborts the request. Several prompts of one request are
asked for at once; their answers are told apart by the number of the choice.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from ..hosting.asking import Ask, Fault, Host, HostError, Piece
from .endpoint import INTERNAL, Refused

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


class Scribe(Protocol):
    """Writes one answer down in its dialect, piece by piece."""

    media_type: str

    def write(self, piece: Piece) -> Iterable[bytes]:
        """What there is to say of `piece`; the first ones have no text."""
        ...

    def end(self) -> Iterable[bytes]:
        """What follows the last piece."""
        ...

    def broke(self, fault: Fault) -> Iterable[bytes]:
        """The last words of an answer that broke off."""
        ...


async def gather(host: Host, asks: Sequence[Ask], request: Request) -> list[Piece]:
    """Every piece of the answers, those that tell of the prompts first.

    Raises `Refused`, or `ClientDisconnect` when nobody waits for it any more.
    """
    return await while_wanted(_collected(host, asks), request)


async def while_wanted(work: Coroutine[Any, Any, Result], request: Request) -> Result:
    """What `work` gives; `ClientDisconnect` when nobody waits for it any more, which ends it."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def stream(host: Host, asks: Sequence[Ask], request: Request, scribe: Scribe) -> Response:
    """The answers as `scribe` writes them down. Raises `Refused` for what is wrong before the first piece."""
    pieces = together(host, asks)
    try:
        first = await anext(pieces)
    except HostError as error:
        raise Refused(error.fault) from None
    request_id: str = request.state.id

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            try:
                for part in scribe.write(first):
                    yield part
                async for piece in pieces:
                    if piece.fault is not None:
                        raise HostError(piece.fault)
                    for part in scribe.write(piece):
                        yield part
                ending = scribe.end()
            except HostError as error:
                ending = scribe.broke(error.fault)
            except Exception:  # a door: the status is out, the stream can only say that it broke
                _LOG.exception("request %s broke off", request_id)
                ending = scribe.broke(INTERNAL)
            for part in ending:
                yield part

    headers = {"X-Queue-Position": str(first.queued), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type=scribe.media_type, headers=headers)


async def together(host: Host, asks: Sequence[Ask]) -> AsyncGenerator[Piece, None]:
    """The answers to all of `asks`: first what there is to tell of each prompt, in order, then whatever comes.

    Choices are numbered on from prompt to prompt. Raises `HostError` for what is wrong before all have begun.
    """
    if len(asks) == 1:
        async with aclosing(_closing(host.ask(asks[0]))) as alone:
            async for piece in alone:
                yield piece
        return
    line: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(host, ask, place, line)) for place, ask in enumerate(asks)]
    try:
        async with aclosing(_ordered(asks, line)) as pieces:
            async for piece in pieces:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _collected(host: Host, asks: Sequence[Ask]) -> list[Piece]:
    try:
        async with aclosing(together(host, asks)) as pieces:
            gathered = [piece async for piece in pieces]
    except HostError as error:
        raise Refused(error.fault) from None
    for piece in gathered:
        if piece.fault is not None:
            raise Refused(piece.fault)
    return gathered


async def _left(request: Request) -> None:
    """Until the client goes away. The body has been read: nothing else is to come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pump(host: Host, ask: Ask, place: int, line: asyncio.Queue[tuple[int, Piece | None]]) -> None:
    try:
        async with aclosing(_closing(host.ask(ask))) as pieces:
            async for piece in pieces:
                line.put_nowait((place, piece))
        line.put_nowait((place, None))
    except HostError as error:
        line.put_nowait((place, Piece(finish_reason="error", fault=error.fault)))
    except Exception:  # a door: whoever reads the line must hear of it
        _LOG.exception("an answer broke off")
        line.put_nowait((place, Piece(finish_reason="error", fault=INTERNAL)))


async def _ordered(asks: Sequence[Ask], line: asyncio.Queue[tuple[int, Piece | None]]) -> AsyncGenerator[Piece, None]:
    before = [sum(ask.params.n for ask in asks[:place]) for place in range(len(asks))]
    first: dict[int, Piece] = {}
    early: list[tuple[int, Piece | None]] = []
    while len(first) < len(asks):
        place, piece = await line.get()
        if piece is not None and piece.fault is not None:
            raise HostError(piece.fault)
        if place in first or piece is None:
            early.append((place, piece))
        else:
            first[place] = piece
    for place in range(len(asks)):
        yield msgspec.structs.replace(first[place], choice=before[place])
    left = len(asks)
    while left:
        place, piece = early.pop(0) if early else await line.get()
        if piece is None:
            left -= 1
        else:
            yield msgspec.structs.replace(piece, choice=before[place] + piece.choice)


async def _closing(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece, None]:
    """A generator in any case, so that it can be closed."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()

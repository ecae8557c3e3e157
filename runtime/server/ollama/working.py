"""Work of the registry that takes a while, told line by line as Ollama tells it: pulling and creating models.

It runs in a thread of its own. A client that leaves ends it at the next thing that it has to tell; what was fetched
until then is where the next pull goes on.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import TypeAlias

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ....registry.events import Event, Notice, Planned, Progress, Shelved, SourceChosen, Verifying
from ...hosting.asking import Fault
from ...hosting.faults import fault_of, without_folders
from ..app import json_response
from ..endpoint import Refused
from ..streaming import while_wanted
from .results import Status
from .wording import NDJSON, line, sentence

_LOG = logging.getLogger(__name__)
_EVERY = 0.06  # seconds between two lines on the same file

Work: TypeAlias = Callable[["Telling"], object]


class Abandoned(Exception):
    """Nobody waits for it any more."""


@dataclass(slots=True)
class Telling:
    """A listener that makes lines of events. `tell` takes each; `left` says that nobody reads them."""

    tell: Callable[[Status], None]
    left: Flag
    _digests: dict[str, str] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        if self.left.is_set():
            raise Abandoned
        match event:
            case Planned(plan):
                self._digests |= {one.name: str(one.digest) for one in plan.files}
            case Progress(file, done, total):
                self._fetched(file, done, total)
            case Verifying():
                self.tell(Status(status="verifying sha256 digest"))
            case Shelved():
                self.tell(Status(status="writing manifest"))
            case Notice(text):
                self.tell(Status(status=without_folders(text)))
            case SourceChosen():
                self.tell(Status(status="pulling manifest"))

    def progress(self, status: str, digest: str | None, done: int, total: int | None) -> None:
        """How far something is, unless that was told just now. Raises `Abandoned`."""
        if self.left.is_set():
            raise Abandoned
        now = monotonic()
        if done != total and now - self._told.get(status, float("-inf")) < _EVERY:
            return
        self._told[status] = now
        self.tell(
            Status(
                status=status,
                digest=UNSET if digest is None else digest,
                total=UNSET if total is None else total,
                completed=done,
            )
        )

    def _fetched(self, file: str, done: int, total: int | None) -> None:
        digest = self._digests.get(file)
        short = file if digest is None else digest.partition(":")[2][:12]
        self.progress(f"pulling {short}", digest, done, total)


async def worked(
    work: Work, request: Request, *, streams: bool, failure: Callable[[Fault], str] = sentence
) -> Response:
    """What `work` tells while it is done, or its end alone. `failure` words what went wrong in the stream.

    Raises `Refused`, and `ClientDisconnect` when nobody waits for the end any more.
    """
    if not streams:
        return json_response(await while_wanted(_ended(work), request))

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(_lines(work)) as told:
            async for one in told:
                yield line(_failed(one, failure) if isinstance(one, Fault) else one)

    return StreamingResponse(body(), media_type=NDJSON)


def _failed(fault: Fault, failure: Callable[[Fault], str]) -> dict[str, str]:
    """Ollama's word for it, and ours for who knows them."""
    ours = {"kind": fault.kind, "hint": fault.hint}
    return {"error": failure(fault), **{name: text for name, text in ours.items() if text is not None}}


async def _ended(work: Work) -> Status | None:
    last: Status | None = None
    async with aclosing(_lines(work)) as told:
        async for one in told:
            if isinstance(one, Fault):
                raise Refused(one)
            last = one
    return last


async def _lines(work: Work) -> AsyncGenerator[Status | Fault, None]:
    loop, left = asyncio.get_running_loop(), Flag()
    told: asyncio.Queue[Status | Fault | None] = asyncio.Queue()

    def put(one: Status | Fault | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(told.put_nowait, one)

    Thread(target=_run, args=(work, put, left), daemon=True).start()
    try:
        while (one := await told.get()) is not None:
            yield one
    finally:
        left.set()


def _run(work: Work, put: Callable[[Status | Fault | None], None], left: Flag) -> None:
    try:
        work(Telling(put, left))
        put(Status(status="success"))
    except Abandoned:
        _LOG.info("a client left what it had asked for; it was not finished")
    except Exception as error:  # a door: whoever waits must hear of it
        fault = fault_of(error)
        if fault.kind == "internal":
            _LOG.exception("work of the registry failed")
        put(fault)
    finally:
        put(None)

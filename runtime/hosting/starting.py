"""How the front starts a process of its own and reaches it; whatever goes wrong on the way, nothing is left behind."""

import asyncio
from time import monotonic
from typing import Any

import msgspec

from ..ipc.channel import connect, forget
from ..ipc.child import Child
from ..ipc.messages import Address
from .asking import Fault, HostError

_LISTENS_WITHIN = 60.0  # seconds until a new process listens: on a busy machine an interpreter takes its time
_AGAIN = 0.02  # seconds between two tries to reach it


async def start(
    module: str, setup: msgspec.Struct, address: Address, died: Fault, threads: int | None = None
) -> tuple[Child, Any]:
    """`module` in a process that is told `setup`, and a connection to where it listens. Raises `HostError`."""
    spawning = asyncio.ensure_future(asyncio.to_thread(Child, module, setup, threads=threads))
    try:
        child = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        spawning.add_done_callback(_stop_unwanted)
        raise
    except OSError as error:
        raise HostError(
            Fault("unavailable", f"no process can be started: {error.strerror}", retry_after=10.0)
        ) from None
    try:
        return child, await _reached(child, address, died)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(stop, child, address))
        raise


def stop(child: Child, address: Address) -> None:
    """End it, and take away where it listened. Blocks for as long as it takes."""
    child.stop()
    forget(address)


async def _reached(child: Child, address: Address, died: Fault) -> Any:
    until = monotonic() + _LISTENS_WITHIN
    while child.is_alive and monotonic() < until:
        try:
            return await asyncio.to_thread(connect, address)
        except (OSError, EOFError):
            await asyncio.sleep(_AGAIN)
    raise HostError(died)


def _stop_unwanted(spawning: "asyncio.Future[Child]") -> None:
    if not spawning.cancelled() and spawning.exception() is None:
        spawning.result().stop()

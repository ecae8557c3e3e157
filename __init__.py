"""unillm: find an open model by name, fetch it, verify it, run it.

This face is lazy: importing it loads neither torch nor any model code; a name does so when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers read it; `typing` itself would be the longest part of starting the program
if TYPE_CHECKING:
    from typing import Any

    from .runtime.client.aio import AsyncClient as AsyncClient
    from .runtime.client.sync import Client as Client
    from .runtime.engine import Engine as Engine
    from .runtime.params import SamplingParams as SamplingParams

_HOMES = {
    "AsyncClient": ".runtime.client.aio",
    "Client": ".runtime.client.sync",
    "Engine": ".runtime.engine",
    "SamplingParams": ".runtime.params",
}
__all__ = ["AsyncClient", "Client", "Engine", "SamplingParams"]


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

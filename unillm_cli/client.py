"""From a model's name to an engine that answers: an engine in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from ..registry.locate import locate, locate_default
from ..registry.settings import RegistrySettings
from .pulling import PullReport
from .session import Session
from .settings import Settings

if TYPE_CHECKING:
    from ..runtime.engine import Engine


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine ready to answer, the model's name, how long loading took, and the system message that it was given."""

    engine: "Engine"
    name: str
    load_seconds: float
    system: str | None = None


@contextmanager
def open_engine(session: Session, settings: Settings) -> Iterator[Opened]:
    """Find the model, fetching it where it is missing, and load it."""
    registry = RegistrySettings.from_environment(settings.environment)
    with PullReport(session.output) as listener:
        named = settings.model
        files = locate(named, registry, listener) if named else locate_default(registry, listener)
    started = perf_counter()
    from ..runtime.engine import Engine  # late: it imports torch

    with Engine.load(files, device=settings.device, dtype=settings.dtype, context=settings.context) as engine:
        yield Opened(engine, files.name, perf_counter() - started, files.system)

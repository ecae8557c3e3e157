"""From a model's name to an engine that answers: an engine in this process.

The floors below are imported when a model is wanted, not when help is: they take longer than help may.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from .session import Session
from .settings import Settings

if TYPE_CHECKING:
    from ..registry.files import ModelFiles
    from ..runtime.engine import Engine


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine ready to answer, the model's name, and how long loading took."""

    engine: "Engine"
    name: str
    load_seconds: float


@contextmanager
def open_engine(session: Session, settings: Settings) -> Iterator[Opened]:
    """Find the model, fetching it where it is missing, and load it."""
    files = find_model(session, settings)
    started = perf_counter()
    _wait_politely()
    from ..runtime.torch_import import import_torch

    import_torch()
    from ..runtime.engine import Engine
    from ..runtime.faults import read_faults
    from ..runtime.options import EngineOptions
    from .pulling import PullReport

    options = EngineOptions(
        device=settings.device,
        dtype=settings.dtype,
        exact=settings.exact,
        quantize=settings.quantize,
        draft=_draft(session, settings),
        context=settings.context or files.parameters.get("context"),
        kv_dtype=settings.kv_dtype,
        prefix_cache=settings.prefix_cache,
        attention_backend=settings.attention_backend,
        faults=read_faults(settings.faults or ""),
    ).with_batch(settings.max_batch_tokens, settings.max_running)
    with PullReport(session.output) as listener:
        loaded = Engine.load(files, options=options, listener=listener)
    with loaded as engine:
        yield Opened(engine, files.name, perf_counter() - started)


def _draft(session: Session, settings: Settings) -> "str | ModelFiles":
    """What guesses ahead; a model's files, fetched where they are missing."""
    named = settings.draft
    return named if named in ("ngram", "off") else find_model(session, replace(settings, model=named))


def _wait_politely() -> None:
    """Have torch's idle threads sleep, not spin. It counts only until torch is imported.

    Spinning threads and any other busy program take the cores from each other: measured with one such program beside
    two threads on two cores, they make an answer ten to twenty times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def find_model(session: Session, settings: Settings) -> "ModelFiles":
    """The files of the model in the settings, else of the default one; what is missing is fetched."""
    from ..registry.locate import locate, locate_default
    from ..registry.settings import RegistrySettings
    from .pulling import PullReport

    registry = RegistrySettings.from_environment(settings.environment)
    with PullReport(session.output) as listener:
        if settings.model is None:
            return locate_default(registry, listener)
        return locate(settings.model, registry, listener)

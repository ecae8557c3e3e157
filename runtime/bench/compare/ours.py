"""unillm itself, through the whole engine: its scheduler and its sampler included; and through its server, which is
held against its own engine too.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

from ...torch_import import import_torch
from .peer import Worker, WorkerPeer
from .served import Served, served
from .trials import TRIALS, Trial
from .worker import Generate

_ENGINE: Final = WorkerPeer("unillm", "ours", "torch", (".gguf", ""))


class Ours:
    """Everything that is measured of us."""

    name = "unillm"

    def absent(self, file: Path) -> str | None:
        return _ENGINE.absent(file)

    def runs(self, trial: Trial) -> bool:
        return True

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator["Running"]:
        with ExitStack() as stack:
            yield Running(file, threads, stack)


class Running:
    """Our engine or our server, whichever a trial wants first."""

    def __init__(self, file: Path, threads: int, stack: ExitStack) -> None:
        self._file, self._threads, self._stack = file, threads, stack
        self._engine: Worker | None = None
        self._server: Served | None = None

    def figure(self, trial: Trial) -> float | None:
        if trial.counts == "served":
            self._server = self._server or self._stack.enter_context(self._serving())
            return self._server.figure(trial)
        self._engine = self._engine or self._stack.enter_context(_ENGINE.running(self._file, self._threads))
        return self._engine.figure(trial)

    def _serving(self) -> AbstractContextManager[Served]:
        words = [sys.executable, "-m", f"{__package__}.served", str(self._file), str(self._threads)]
        return served(Ours.name, self._file, self._threads, lambda port: [*words, str(port)])


class EngineAlone:
    """Our engine without a server, as what the server is held against: where one answer is asked for at a time."""

    name = "unillm's engine"

    def absent(self, file: Path) -> str | None:
        return _ENGINE.absent(file)

    def runs(self, trial: Trial) -> bool:
        return trial.counts == "served" and trial.requests == 1

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator["Alone"]:
        with _ENGINE.running(file, threads) as worker:
            yield Alone(worker)


class Alone:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def figure(self, trial: Trial) -> float | None:
        return self._worker.figure(TRIALS["decode"])


OURS: Final = Ours()
ENGINE_ALONE: Final = EngineAlone()


def load(file: Path, threads: int) -> tuple[Generate, int]:
    """Every round begins with an empty cache and finds its memory warm, as the peers' do: prompts are random, and kept
    ones would only have each round take memory that the system has to find first.
    """
    import_torch()
    from ...engine import Engine
    from ...options import EngineOptions
    from ...params import SamplingParams

    options = EngineOptions(device="cpu", threads=threads, draft="off", prefix_cache="off")
    engine = Engine.load(file, options=options)

    def generate(prompts: Sequence[Sequence[int]], answer: int) -> None:
        engine.generate(
            prompts, SamplingParams(max_tokens=answer, temperature=0.0, repetition_penalty=1.0, ignore_eos=True)
        )

    return generate, engine.vocabulary

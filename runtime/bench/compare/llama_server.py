"""llama.cpp's own server, with as many slots as a trial has requests, and its defaults for all else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .served import Served, served
from .trials import TRIALS, Trial

PROGRAM: Final = "llama-server"
_SLOTS: Final = max(trial.requests for trial in TRIALS.values())
_CONTEXT: Final = 512 * _SLOTS  # tokens of all slots


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """The program in `folder`, or on the PATH."""

    folder: Path | None = None

    @property
    def name(self) -> str:
        return PROGRAM

    @property
    def _program(self) -> str | None:
        return shutil.which(PROGRAM, path=None if self.folder is None else str(self.folder))

    def absent(self, file: Path) -> str | None:
        if self._program is None:
            return f"{PROGRAM} not found: --build-peers makes it"
        return None if file.suffix == ".gguf" else f"it does not read {file.suffix or 'folders of'} files"

    def runs(self, trial: Trial) -> bool:
        return trial.counts == "served"

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator[Served]:
        words = [self._program or PROGRAM, "-m", str(file), "-t", str(threads), "--parallel", str(_SLOTS)]
        words += ["-c", str(_CONTEXT), "--host", "127.0.0.1", "--port"]
        with served(self.name, file, threads, lambda port: [*words, str(port)]) as there:
            yield there

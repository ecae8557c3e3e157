"""What a peer is to the comparison: something that may be installed, and runs a trial of a file to a figure.

Those in Python run as a process of their own that reads names of trials and answers with figures, a JSON line each
(`worker.py`), so that one's threads and memory are not another's.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from ...errors import PeerFailed
from .trials import Trial


class Running(Protocol):
    """A peer with the file loaded, or ready to load it."""

    def figure(self, trial: Trial) -> float | None:
        """In the trial's unit; None where the peer has no such trial. Raises `PeerFailed`."""
        ...


class Peer(Protocol):
    """`name` is what tables call it."""

    @property
    def name(self) -> str: ...
    def absent(self, file: Path) -> str | None:
        """Why it cannot run here, or not this file; None: it can."""
        ...

    def runs(self, trial: Trial) -> bool:
        """Whether it has such a trial."""
        ...

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator[Running]: ...


@dataclass(frozen=True, slots=True)
class WorkerPeer:
    """A peer in Python: a module of this folder with `load(file, threads)`, and the package that must be there.

    `prepare` turns a file into what the peer loads, once and outside every trial; `serves` are the endings of that, and
    `wants` says of a file without one of them why not.
    """

    name: str
    module: str
    package: str
    serves: tuple[str, ...] = (".gguf",)
    prepare: Callable[[Path], Path] | None = None
    wants: str | None = None

    def absent(self, file: Path) -> str | None:
        from importlib.util import find_spec

        if find_spec(self.package) is None:
            return "not installed"
        if self._prepared(file).suffix in self.serves:
            return None
        return self.wants or f"it does not read {file.suffix} files"

    def runs(self, trial: Trial) -> bool:
        return trial.counts != "served"

    def _prepared(self, file: Path) -> Path:
        return file if self.prepare is None else self.prepare(file)

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator["Worker"]:
        worker = Worker(self, self._prepared(file), threads)
        try:
            yield worker
        finally:
            worker.close()


class Worker:
    """The process of a peer, started when its first trial comes."""

    def __init__(self, peer: WorkerPeer, file: Path, threads: int) -> None:
        self._peer, self._file, self._threads = peer, file, threads
        self._process: subprocess.Popen[str] | None = None

    def figure(self, trial: Trial) -> float | None:
        if trial.counts in ("first", "memory"):
            return self._alone(trial)
        if self._process is None:
            self._process = self._started()
        return self._asked(self._process, trial)

    def close(self) -> None:
        if self._process is not None:
            _ended(self._process)
        self._process = None

    def _alone(self, trial: Trial) -> float:
        """In a process of its own, from its very start."""
        self.close()  # two copies of a model would share the machine's memory
        began = perf_counter()
        process = self._started()
        try:
            figure = self._asked(process, trial)
            return perf_counter() - began if trial.counts == "first" else figure
        finally:
            _ended(process)

    def _started(self) -> subprocess.Popen[str]:
        module = f"{__package__}.worker"
        command = [sys.executable, "-m", module, self._peer.module, str(self._file), str(self._threads)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def _asked(self, process: subprocess.Popen[str], trial: Trial) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{trial.name}\n")
            answer: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
        except (OSError, ValueError) as error:
            raise PeerFailed(self._peer.name, trial.name, f"its process ended: {error}") from error
        if "figure" not in answer:
            raise PeerFailed(self._peer.name, trial.name, str(answer.get("error", "its process ended")))
        return float(answer["figure"])


def _ended(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()

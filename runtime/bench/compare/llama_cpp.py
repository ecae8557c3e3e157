"""llama.cpp, by its own benchmarks: `llama-bench` for one request, `llama-batched-bench` for several.

Neither has a scheduler or a sampler. Its defaults repack weights for the CPU that it finds; `repack=False` is the other
way it can be run, which some machines are faster with. `build` makes both, and the server, from the sources that the
package `llama-cpp-python` carries, for the very CPU that they will run on.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ...errors import PeerFailed
from . import llama_server
from .trials import Trial

PROGRAMS: Final = ("llama-bench", "llama-batched-bench")
BUILT: Final = (*PROGRAMS, llama_server.PROGRAM)
_PACKAGE: Final = "llama-cpp-python"
_OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
)


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """Programs in `folder`, or on the PATH."""

    folder: Path | None = None
    repack: bool = True

    @property
    def name(self) -> str:
        return "llama.cpp" if self.repack else "llama.cpp --no-repack"

    def absent(self, file: Path) -> str | None:
        missing = [name for name in PROGRAMS if self._program(name) is None]
        if missing:
            return f"{' and '.join(missing)} not found: --build-peers makes them"
        return None if file.suffix == ".gguf" else f"it does not read {file.suffix or 'folders of'} files"

    def runs(self, trial: Trial) -> bool:
        return trial.counts != "served"

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator["Programs"]:
        yield Programs(self, file, threads)

    def _program(self, name: str) -> str | None:
        return shutil.which(name, path=None if self.folder is None else str(self.folder))

    def command(self, name: str, *words: str) -> list[str]:
        return [self._program(name) or name, *words]


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs on one file."""

    peer: LlamaCpp
    file: Path
    threads: int

    def figure(self, trial: Trial) -> float:
        if trial.requests > 1:
            return self._batch(trial)
        if trial.counts == "memory":
            return self._run(trial, self._bench(0, trial.answer))[1]
        if trial.counts == "first":
            began = perf_counter()
            self._run(trial, self._bench(trial.prompt, 1))
            return perf_counter() - began
        sizes = (trial.prompt, 0) if trial.counts == "prompts" else (0, trial.answer)
        return float(_json(self.peer, trial, self._run(trial, self._bench(*sizes))[0])[0]["avg_ts"])

    def _bench(self, prompt: int, answer: int) -> list[str]:
        sizes = ("-p", str(prompt), "-n", str(answer), "-r", "1", "--repack", str(int(self.peer.repack)))
        alone = () if prompt != 16 else ("--no-warmup",)
        return self.peer.command("llama-bench", *self._common(), *sizes, *alone, "-o", "json")

    def _batch(self, trial: Trial) -> float:
        """Answers over the time of both: prompts, then all answers in step."""
        words = (*self._common(), "-c", str(trial.longest), "-b", "2048", "-ub", "512", "-npp", str(trial.prompt))
        words += ("-ntg", str(trial.answer), "-npl", str(trial.requests), "--output-format", "jsonl")
        if not self.peer.repack:
            words += ("--no-repack",)
        said = self._run(trial, self.peer.command("llama-batched-bench", *words))[0]
        rows = [line for line in said.splitlines() if line.startswith("{")]
        row = _json(self.peer, trial, rows[-1] if rows else "")
        return trial.requests * trial.answer / (float(row["t_pp"]) + float(row["t_tg"]))

    def _common(self) -> tuple[str, ...]:
        return ("-m", str(self.file), "-t", str(self.threads))

    def _run(self, trial: Trial, command: Sequence[str]) -> tuple[str, float]:
        """What it printed, and the most memory it held."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as process:
            peak = _watched(process) if trial.counts == "memory" else 0.0
            said, _ = process.communicate()
        if process.returncode:
            raise PeerFailed(self.peer.name, trial.name, f"{Path(command[0]).name} ended with {process.returncode}")
        return said, peak


def _watched(process: "subprocess.Popen[str]") -> float:
    """The last peak that the system told of a process before it ended. It prints too little to fill a pipe."""
    status, peak = Path(f"/proc/{process.pid}/status"), 0.0
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))])
        time.sleep(0.01)
    return peak


def _json(peer: LlamaCpp, trial: Trial, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise PeerFailed(peer.name, trial.name, "it printed no figures") from error


def build(folder: Path, tell: Callable[[str], None]) -> Path:
    """Fetch the sources with the user's own pip and build the programs with cmake; their folder. Done once.

    Raises `PeerFailed` with what went wrong.
    """
    made = folder / "build" / "bin"
    if all((made / name).exists() for name in BUILT):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    sources = _sources(folder, tell)
    tell("building llama.cpp: this takes minutes")
    _step(folder, ["cmake", "-S", str(sources), "-B", str(folder / "build"), *_OPTIONS])
    _step(folder, ["cmake", "--build", str(folder / "build"), "--target", *BUILT, "-j", str(os.cpu_count() or 1)])
    return made


def _sources(folder: Path, tell: Callable[[str], None]) -> Path:
    tell(f"fetching the sources of {_PACKAGE}")
    options = ("--no-deps", "--no-binary", _PACKAGE, "--no-input", "-d", str(folder))
    _step(folder, [sys.executable, "-m", "pip", "download", *options, _PACKAGE])
    archive = max(folder.glob("llama_cpp_python-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "sources", filter="data")
    return next((folder / "sources").glob("*/vendor/llama.cpp"))


def _step(folder: Path, command: Sequence[str]) -> None:
    """One program of the build; what it says lies in build.log."""
    with (folder / "build.log").open("ab") as log:
        try:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        except FileNotFoundError as error:
            raise PeerFailed("llama.cpp", "the build", f"{command[0]} is not installed") from error
    if done.returncode:
        raise PeerFailed("llama.cpp", "the build", f"{Path(command[0]).name} failed: see {folder / 'build.log'}")

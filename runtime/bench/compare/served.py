"""Servers beside each other: each a process of its own that listens on a port of this machine, loaded and idle until
its turn, and asked over HTTP by the same client.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Final

import httpx

from ...errors import PeerFailed
from ..serve.load import Load
from ..serve.measure import Target, measure
from .trials import Trial

_READY_WITHIN: Final = 300.0  # seconds
_ENDS_WITHIN: Final = 20.0

Command = Callable[[int], Sequence[str]]  # the words that start the server on a port


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is ready, called `name`, with `file`."""

    name: str
    file: Path
    url: str

    def figure(self, trial: Trial) -> float:
        """Tokens of answers a second: of all together, or between the first and the last of one."""
        load = Load(trial.requests, trial.requests, None, trial.prompt, trial.answer)
        found = measure(Target(f"{self.url}/v1", self.file.name), load, lambda *_: None)
        if found.faults:
            raise PeerFailed(self.name, trial.name, found.faults[0])
        if trial.requests > 1:
            return found.answers_per_second
        return 1 / median(one.per_token or 0.0 for one in found.answers)


@contextmanager
def served(name: str, file: Path, threads: int, command: Command) -> Iterator[Served]:
    """Until the block ends. Raises `PeerFailed` where the server does not become ready."""
    port = _free_port()
    process = subprocess.Popen(
        list(command(port)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    there = Served(name, file, f"http://127.0.0.1:{port}")
    try:
        _wait(there, process)
        yield there
    finally:
        process.terminate()
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(there: Served, process: "subprocess.Popen[bytes]") -> None:
    until = monotonic() + _READY_WITHIN
    while process.poll() is None and monotonic() < until:
        try:
            if httpx.get(f"{there.url}/health", timeout=5.0, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        sleep(0.1)
    raise PeerFailed(there.name, "its server", "it did not become ready")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main(file: str, threads: str, port: str) -> None:
    """Our own server, for one file: guessing ahead, which random weights would reward, is off."""
    from ....registry.settings import RegistrySettings
    from ...hosting.options import HostOptions
    from ...server.serving import ServeOptions, serve

    engine = {"device": "cpu", "threads": int(threads), "draft": "off"}
    options = ServeOptions(port=int(port), models=(file,), hosting=HostOptions(keep_alive=-1, engine=engine))
    serve(options, RegistrySettings.from_environment(os.environ), lambda _: None)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A server for tests: `unillm serve` as people start it, a process of its own on a port that is free."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx

READY_WITHIN = 180.0  # seconds: interpreters start slowly where all cores are busy


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers at `url` for `model`, which is called as its `folder` is."""

    url: str
    model: str
    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60)

    def post(self, path: str, **body: object) -> httpx.Response:
        """The answer to a JSON body, for `model` unless it says otherwise."""
        return httpx.post(self.url + path, json={"model": self.model, **body}, timeout=60)


@contextmanager
def serving(
    model: Path, home: Path, flags: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """Until the block ends. Nothing but what is in `home` is installed, and without an `environ` nothing is fetched."""
    home.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), home / "server.log"
    command = [sys.executable, "-m", "unillm.unillm_cli", "serve", "--port", str(port), "--model", str(model), *flags]
    settled = {"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf"), "UNILLM_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, env={**os.environ, **settled, **(environ or {})})
    served = Serving(f"http://127.0.0.1:{port}", model.name, model, process, log)
    try:
        _wait_until_ready(served)
        yield served
    finally:
        _end(process)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait_until_ready(served: Serving) -> None:
    until = monotonic() + READY_WITHIN
    while monotonic() < until and served.process.poll() is None:
        try:
            if httpx.get(f"{served.url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        sleep(0.1)
    raise AssertionError(f"the server did not start: {served.log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

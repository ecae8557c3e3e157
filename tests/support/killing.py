"""Pulling the plug: an operation of the registry in a process that is killed just before its nth step on the disk.

A step is whatever the audit hooks of Python tell of (a file opened for writing, a name given, moved or taken away), a
sync, and a piece of a download. The processes are forks of one that has imported everything and runs no thread.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unillm.registry.create import create
from unillm.registry.events import Event, Progress
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.prune import prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf

_STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def settings_in(folder: Path, endpoint: str) -> RegistrySettings:
    return RegistrySettings(
        home=folder / "home",
        aliases=folder / "aliases.toml",
        cache_dir=folder / "hf" / "hub",
        endpoint=endpoint,
        memory=64 * 10**9,
        patience=2.0,
        waits=(0.0, 0.0),
    )


def _pull(settings: RegistrySettings, tell: Callable[[Event], None]) -> None:
    pull("org/repo", settings, tell)


def _create(settings: RegistrySettings, tell: Callable[[Event], None]) -> None:
    create("mine", parse_modelfile(Path("Modelfile"), "FROM org/repo\nSYSTEM new"), settings, tell)


def _copy(settings: RegistrySettings, _tell: Callable[[Event], None]) -> None:
    shelf = Shelf(settings)
    shelf.copy(shelf.need(ModelRef.parse("org/repo")), ModelRef.parse("second:v1"))


def _remove(settings: RegistrySettings, _tell: Callable[[Event], None]) -> None:
    shelf = Shelf(settings)
    shelf.remove(shelf.need(ModelRef.parse("org/repo")))


def _prune(settings: RegistrySettings, _tell: Callable[[Event], None]) -> None:
    prune(settings, partial=True)


OPERATIONS = {"pull": _pull, "create": _create, "cp": _copy, "rm": _remove, "prune": _prune}


@dataclass(frozen=True)
class Ended:
    """How a process ended: whether it was killed, and how many steps it took otherwise."""

    killed: bool
    steps: int


class Killer:
    """The process that all others are forks of."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, operation: str, folder: Path, endpoint: str, at: int | None = None) -> Ended:
        """Run it in `folder`, to its end or to just before its step `at`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([operation, str(folder), endpoint, at]) + "\n")
        stdin.flush()
        ended = Ended(**json.loads(stdout.readline()))
        assert ended.killed or ended.steps, "the operation failed; see standard error"
        return ended


@contextmanager
def killer() -> Iterator[Killer]:
    command = [sys.executable, "-c", "from unillm.tests.support.killing import serve; serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Killer(process)
        process.communicate()


def serve() -> None:
    """Fork once for every line on standard input, and say how the fork ended."""
    import huggingface_hub  # late for users, early here: no fork shall have to load it

    huggingface_hub.get_session()
    for line in sys.stdin:
        operation, folder, endpoint, at = json.loads(line)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reader)
            _work(operation, settings_in(Path(folder), endpoint), at, writer)
        os.close(writer)
        with os.fdopen(reader) as told:
            steps = int(told.read() or 0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "steps": steps}), flush=True)


def _work(operation: str, settings: RegistrySettings, at: int | None, writer: int) -> None:
    """The fork: it leaves by the back door, whatever happens."""
    steps = 0

    def step() -> None:
        nonlocal steps
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    def heard(event: str, args: tuple[object, ...]) -> None:
        if event in _STEPS or (event == "open" and isinstance(args[2], int) and args[2] & _WRITING):
            step()

    sync = os.fsync

    def synced(fd: Any) -> None:
        step()
        sync(fd)

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            step()

    os.fsync = synced
    sys.addaudithook(heard)
    try:
        OPERATIONS[operation](settings, tell)
        os.write(writer, str(steps).encode())
    except BaseException as error:
        print(f"{operation}: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)

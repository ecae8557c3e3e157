"""Operations of the registry in processes of their own, which are killed at a step, or whose disk fails at one.

A step to be killed at is whatever the audit hooks of Python tell of (a file opened for writing, a name given, moved or
taken away), a sync, and a piece of a download. The processes are forks of one that has imported everything and runs no
thread.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unillm.registry.create import create
from unillm.registry.errors import RegistryError
from unillm.registry.events import Event, Progress, nobody
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.prune import prune
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.support.faulty_disk import Change, FaultyDisk, strike
from unillm.unillm_cli.errors import report

_STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def settings_in(folder: Path, endpoint: str) -> RegistrySettings:
    return RegistrySettings(
        home=folder / "home",
        aliases=folder / "aliases.toml",
        cache_dir=folder / "hf" / "hub",
        endpoint=endpoint,
        memory=64 * 10**9,
        patience=30.0,  # nothing here waits for who does not come; a busy machine is only slow
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


@dataclass(frozen=True)
class Struck:
    """What an operation said on a failing disk: nothing where it took no harm, else the command line's words.

    `steps` are those that the error could have struck, `models` what was listed then, `again` is what a second try
    said when the disk was sound.
    """

    steps: int
    said: str | None
    models: dict[str, str]
    again: str | None


class Killer:
    """The process that all others are forks of."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, operation: str, folder: Path, endpoint: str, at: int | None = None) -> Ended:
        """Run it in `folder`, to its end or to just before its step `at`."""
        killed, told = self._ask("kill", operation, str(folder), endpoint, at)
        assert killed or told, "the operation failed; see standard error"
        return Ended(killed, int(told or 0))

    def record(self, operation: str, folder: Path, endpoint: str) -> list[Change]:
        """Run it to its end, and tell what it did to the disk."""
        _, told = self._ask("record", operation, str(folder), endpoint)
        return [tuple(change) for change in told]

    def strike(self, operation: str, folder: Path, endpoint: str, error: str, at: int, *, lasting: bool) -> Struck:
        """Run it on a disk that fails at the step `at`, and once more, in the same process, on a sound one."""
        killed, told = self._ask("strike", operation, str(folder), endpoint, error, at, lasting)
        assert not killed
        return Struck(**told)

    def _ask(self, *request: object) -> tuple[bool, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        killed, told = json.loads(stdout.readline())
        return killed, told


@contextmanager
def killer() -> Iterator[Killer]:
    command = [sys.executable, "-c", "from unillm.tests.support.killing import serve; serve()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Killer(process)
        process.communicate()


def serve() -> None:
    """Fork once for every line on standard input, and say how the fork ended and what it told."""
    import huggingface_hub  # late for users, early here: no fork shall have to load it

    huggingface_hub.get_session()
    for line in sys.stdin:
        kind, operation, folder, endpoint, *more = json.loads(line)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reader)
            _work(partial(_WORK[kind], operation, Path(folder), endpoint, *more), writer)
        os.close(writer)
        with os.fdopen(reader) as told:
            answer = told.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps([killed, json.loads(answer or "null")]), flush=True)


def _work(work: Callable[[], object], writer: int) -> None:
    """The fork: it leaves by the back door, whatever happens."""
    try:
        answer = json.dumps(work()).encode()
        with os.fdopen(writer, "wb") as told:
            told.write(answer)
    except BaseException as error:
        traceback.print_exception(error)
    finally:
        os._exit(0)


def _killed(operation: str, folder: Path, endpoint: str, at: int | None) -> int:
    """Its steps, if it lives through them."""
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
    OPERATIONS[operation](settings_in(folder, endpoint), tell)
    return steps


def _recorded(operation: str, folder: Path, endpoint: str) -> list[Change]:
    disk = FaultyDisk(folder, lambda _kind, _path: None)
    disk.install()
    OPERATIONS[operation](settings_in(folder, endpoint), nobody)
    return disk.journal


def _struck(operation: str, folder: Path, endpoint: str, error: str, at: int, lasting: bool) -> dict[str, object]:
    settings = settings_in(folder, endpoint)
    heard, steps = strike(error, at, lasting=lasting)
    disk = FaultyDisk(folder, heard)
    disk.install()
    said = _words_of(partial(OPERATIONS[operation], settings, nobody))
    disk.heard = lambda _kind, _path: None
    models = whole_models(settings)
    again = _words_of(partial(OPERATIONS[operation], settings, nobody)) if said else None
    return {"steps": steps(), "said": said, "models": models, "again": again}


def _words_of(work: Callable[[], None]) -> str | None:
    """What the user would read; None where all went well. What nobody has words for goes up."""
    try:
        work()
    except (RegistryError, OSError) as error:
        return report(error).message
    return None


def whole_models(settings: RegistrySettings) -> dict[str, str]:
    """Every model that is listed, each of them whole."""
    shelf = Shelf(settings)
    for entry in shelf.entries():
        assert shelf.verify(entry) == []
    return {entry.name: entry.sound.id for entry in shelf.entries()}


_WORK: dict[str, Callable[..., object]] = {"kill": _killed, "record": _recorded, "strike": _struck}

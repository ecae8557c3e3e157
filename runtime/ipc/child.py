"""A process of our own: how it is started, how it learns what it is to do, and that it never outlives its parent."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import IO, Any, TypeVar

import msgspec

from ..logs import log_to_stderr
from . import messages
from .channel import Door, forget

_LENGTH = struct.Struct("<Q")

Setup = TypeVar("Setup", bound=msgspec.Struct)
Listening = TypeVar("Listening", messages.Setup, messages.TextSetup)


class Child:
    """`module` run by the same interpreter. Its standard input stays open as long as its parent lives. What it writes
    to its standard output is read from `told`, if anything `is_heard`.
    """

    def __init__(
        self, module: str, setup: msgspec.Struct, *, threads: int | None = None, is_heard: bool = False
    ) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        # A session of its own: a Ctrl-C in the terminal is the parent's to hear. -P: nothing is imported from the
        # folder where the user happens to be.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if is_heard else subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        text = msgspec.msgpack.encode(setup)
        with suppress(BrokenPipeError):  # it has ended already, which whoever waits for it will see
            self._stdin.write(_LENGTH.pack(len(text)) + text)
            self._stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise RuntimeError("the process was started without a standard input")
        return self._process.stdin

    @property
    def told(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise RuntimeError("the process was started without anybody to hear it")
        return self._process.stdout

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        return self._process.wait()

    def stop(self, patience: float = 2.0) -> None:
        """Let it go: it ends by itself when its standard input does, and is killed when it does not."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def begin(name: str, kind: type[Listening], admit: Callable[[Any], None]) -> Listening:
    """In the child, before anything else: log as `name`, and hand whoever connects to `admit`; what it is to do."""
    log_to_stderr(name)
    setup = read_setup(kind)
    end_with_parent(lambda: forget(setup.address))
    try:
        door = Door(setup.address)
    except OSError:  # the folder has gone, and so has whoever wanted this process
        os._exit(0)
    door.admit(admit)
    return setup


def read_setup(kind: type[Setup]) -> Setup:
    """In the child: what it is to do."""
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    return msgspec.msgpack.decode(sys.stdin.buffer.read(length), type=kind)


def end_with_parent(then: Callable[[], None] | None = None) -> None:
    """In the child: end as soon as the parent has gone or wants it, whatever is being computed; `then` comes before.

    A Ctrl-C means nothing here: the parent decides.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        sys.stdin.buffer.read()
        if then is not None:
            then()
        os._exit(0)

    Thread(target=watch, daemon=True, name="parent").start()

"""A connection between two processes that carries typed messages both ways.

Standard pieces carry it: `multiprocessing.connection` makes frames and checks the secret, msgspec makes bytes of
messages. Nothing is ever unpickled. Sending never blocks: what the system does not take at once a thread writes.
"""

import asyncio
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import msgspec

from .frames import SocketFrames, frames_over
from .messages import Address

_LOG = logging.getLogger(__name__)

Incoming = TypeVar("Incoming")


class Channel(Generic[Incoming]):
    """Messages of the type `incoming` are handed to `receive`, in a thread of its own or in an event loop; None is the
    end.
    """

    def __init__(self, connection: Any, incoming: Any, receive: Callable[[Incoming | None], None]) -> None:
        self._frames = frames_over(connection)
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._encoder = msgspec.msgpack.Encoder()
        self._receive = receive
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._gate = Lock()
        self._left = 0  # frames that are in the outbox or being written
        self._users = 2  # of the connection: who reads and who writes
        self._is_over = False

    def start(self) -> None:
        """Call `receive` in a thread."""
        Thread(target=self._read, daemon=True, name="reader").start()
        Thread(target=self._write, daemon=True, name="writer").start()

    def start_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call `receive` in `loop`, which runs this. No thread reads where the loop can wait for the connection."""
        if isinstance(self._frames, SocketFrames):
            loop.add_reader(self._frames.fileno(), self._read_what_came, loop, self._frames)
            Thread(target=self._write, daemon=True, name="writer").start()
            return
        receive = self._receive
        self._receive = lambda message: None if loop.is_closed() else _soon(loop, receive, message)
        self.start()

    def send(self, message: msgspec.Struct) -> None:
        """Never waits. What is sent to a process that has gone is lost; its end is told to `receive`."""
        frame = self._frames.framed(self._encoder.encode(message))
        with self._gate, suppress(OSError):
            left = frame if self._left else self._frames.offer(frame)
            if left is not None:
                self._left += 1
                self._outbox.put(left)

    def close(self) -> None:
        """Send what is left, then hang up."""
        self._outbox.put(None)

    def finish(self, loop: asyncio.AbstractEventLoop) -> None:
        """In `loop`, when who was connected has gone: hear what it still said, and the end."""
        while isinstance(self._frames, SocketFrames) and not self._is_over:
            self._read_what_came(loop, self._frames)

    def _write(self) -> None:
        with suppress(OSError):
            while (frame := self._outbox.get()) is not None:
                self._frames.send(frame)
                with self._gate:
                    self._left -= 1
        self._frames.hang_up()
        self._leave()

    def _read(self) -> None:
        while not self._is_over:
            self._hear(self._frames.receive)

    def _read_what_came(self, loop: asyncio.AbstractEventLoop, frames: SocketFrames) -> None:
        number = frames.fileno()
        try:
            self._hear(frames.ready)
        finally:
            if self._is_over:
                loop.remove_reader(number)

    def _hear(self, read: Callable[[], list[bytes]]) -> None:
        goes_on = False
        try:
            for frame in read():
                self._receive(self._decoder.decode(frame))
            goes_on = True
        except (EOFError, OSError):
            pass
        except msgspec.DecodeError as error:  # not what was agreed upon: whoever sends it is left
            _LOG.error("a message was none: %s", error)
        finally:
            if not goes_on:
                self._end()

    def _end(self) -> None:
        self._is_over = True
        self._outbox.put(None)
        self._receive(None)
        self._leave()

    def _leave(self) -> None:
        """The last one closes: while the other still uses it, another connection might get the same number."""
        with self._gate:
            self._users -= 1
            if not self._users:
                self._frames.close()


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], message: Any) -> None:
    loop.call_soon_threadsafe(call, message)


class Door:
    """Where a process listens for channels."""

    def __init__(self, address: Address) -> None:
        self._listener = Listener(address.path, backlog=64, authkey=address.secret)

    def admit(self, connected: Callable[[Any], None]) -> None:
        """Hand each connection to `connected`, for ever, in a thread of its own. A stranger is turned away."""

        def run() -> None:
            while True:
                try:
                    connection = self._listener.accept()
                except (AuthenticationError, EOFError, ConnectionError):
                    continue
                except OSError:
                    return
                connected(connection)

        Thread(target=run, daemon=True, name="door").start()

    def close(self) -> None:
        """Nobody is let in any more."""
        with suppress(OSError):
            self._listener.close()


def connect(address: Address) -> Any:
    """A connection to who listens there. `OSError` while nobody does."""
    return Client(address.path, authkey=address.secret)


def forget(address: Address) -> None:
    """Take away where somebody listened who has gone, and the folder too when nobody else listens there."""
    if sys.platform != "win32":
        with suppress(OSError):
            Path(address.path).unlink()
        with suppress(OSError):
            Path(address.path).parent.rmdir()


class Addresses:
    """Hands out addresses that only this user can reach. `close` removes what is left of them."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0

    def new(self) -> Address:
        self._count += 1
        secret = secrets.token_bytes(32)
        if sys.platform == "win32":
            return Address(rf"\\.\pipe\unillm-{os.getpid()}-{self._count}-{secrets.token_hex(8)}", secret)
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix="unillm-"))
        return Address(str(self._folder / str(self._count)), secret)

    def close(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

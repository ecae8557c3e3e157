"""A connection between two processes that carries typed messages both ways.

Standard pieces carry it: `multiprocessing.connection` makes frames and checks the secret, msgspec makes bytes of
messages. Nothing is ever unpickled. Sending never blocks; a thread of its own writes, another one reads.
"""

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import msgspec

from .messages import Address

_LOG = logging.getLogger(__name__)
LARGEST = 1 << 30  # bytes of one message: the vectors of a large batch are the most there can be

Incoming = TypeVar("Incoming")


class Channel(Generic[Incoming]):
    """Messages of the type `incoming` are handed to `receive`, in a thread of its own; None is the end."""

    def __init__(self, connection: Any, incoming: Any, receive: Callable[[Incoming | None], None]) -> None:
        self._connection: Connection[Any, Any] = connection
        self._decoder: msgspec.msgpack.Decoder[Incoming] = msgspec.msgpack.Decoder(incoming)
        self._encoder = msgspec.msgpack.Encoder()
        self._receive = receive
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._gate = Lock()
        self._threads = 2

    def start(self) -> None:
        Thread(target=self._read, daemon=True, name="reader").start()
        Thread(target=self._write, daemon=True, name="writer").start()

    def send(self, message: msgspec.Struct) -> None:
        """Never waits. What is sent to a process that has gone is lost; its end is told to `receive`."""
        self._outbox.put(self._encoder.encode(message))

    def close(self) -> None:
        """Send what is left, then hang up."""
        self._outbox.put(None)

    def _write(self) -> None:
        with suppress(OSError):
            while (frame := self._outbox.get()) is not None:
                self._connection.send_bytes(frame)
        _hang_up(self._connection)
        self._leave()

    def _read(self) -> None:
        try:
            while True:
                self._receive(self._decoder.decode(self._connection.recv_bytes(LARGEST)))
        except (EOFError, OSError, TypeError):  # TypeError: closed here while it waited
            pass
        except msgspec.DecodeError as error:  # not what was agreed upon: whoever sends it is left
            _LOG.error("a message was none: %s", error)
        finally:
            self._outbox.put(None)
            self._receive(None)
            self._leave()

    def _leave(self) -> None:
        """The last thread closes: while the other one still reads, another connection might get the same number."""
        with self._gate:
            self._threads -= 1
            if not self._threads:
                self._connection.close()


def _hang_up(connection: Any) -> None:
    """End what is read at both ends. A pipe of Windows knows no such thing; closing it wakes whoever reads it."""
    if sys.platform == "win32":
        connection.close()
        return
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


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

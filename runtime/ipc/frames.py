"""Frames over a connection: bytes of any length that arrive whole and in order.

A socket is written and read here directly, so that a frame needs no thread where the system takes it at once. A pipe of
Windows makes its own frames, and always waits. What frames hold is nobody's business here.
"""

import os
import select
import socket
import struct
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

LARGEST = 1 << 30  # bytes of one frame: the vectors of a large batch are the most there can be

_LENGTH = struct.Struct("!i")
_AT_ONCE = 1 << 16  # bytes read in one call


class Frames(Protocol):
    """Both directions of one connection. All but `hang_up` and `close` raise `OSError` once it is broken."""

    def framed(self, message: bytes) -> bytes:
        """What `offer` and `send` take."""
        ...

    def offer(self, frame: bytes) -> bytes | None:
        """Send as much as goes without waiting: what is left for `send`, or None."""
        ...

    def send(self, frame: bytes) -> None:
        """Send a frame, or what is left of one; waits for as long as that takes."""
        ...

    def receive(self) -> list[bytes]:
        """Wait for more: the frames that are whole by now. Raises `EOFError` at the end."""
        ...

    def hang_up(self) -> None:
        """End what is read at both ends."""
        ...

    def close(self) -> None: ...


class SocketFrames:
    """Frames over a socket, a length in front of each. `ready` is for whoever is told by the system when to read."""

    def __init__(self, connection: Any) -> None:
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._read = bytearray()
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        connection.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def framed(self, message: bytes) -> bytes:
        return _LENGTH.pack(len(message)) + message

    def offer(self, frame: bytes) -> bytes | None:
        try:
            sent = self._socket.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return frame
        return frame[sent:] or None

    def send(self, frame: bytes) -> None:
        self._socket.sendall(frame)

    def receive(self) -> list[bytes]:
        self._readable.poll()  # a thread that waits in `recv` is woken by what the other end reads, too
        return self._whole(self._socket.recv(_AT_ONCE))

    def ready(self) -> list[bytes]:
        """As `receive`, but waits for nothing."""
        try:
            return self._whole(self._socket.recv(_AT_ONCE, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return []

    def hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _whole(self, data: bytes) -> list[bytes]:
        if not data:
            raise EOFError
        self._read += data
        frames, start = list[bytes](), 0
        while (end := self._end(start)) is not None:
            frames.append(bytes(self._read[start + _LENGTH.size : end]))
            start = end
        del self._read[:start]
        return frames

    def _end(self, start: int) -> int | None:
        """Where the frame ends that begins at `start`; None while it is not all there."""
        if len(self._read) < start + _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._read, start)
        if not 0 <= length <= LARGEST:
            raise OSError(f"a frame says that it has {length} bytes")
        end = start + _LENGTH.size + int(length)
        return end if end <= len(self._read) else None


class PipeFrames:
    """Frames as a pipe of Windows makes them."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection

    def framed(self, message: bytes) -> bytes:
        return message

    def offer(self, frame: bytes) -> bytes | None:
        return frame

    def send(self, frame: bytes) -> None:
        self._connection.send_bytes(frame)

    def receive(self) -> list[bytes]:
        try:
            return [self._connection.recv_bytes(LARGEST)]
        except TypeError:  # closed here while it waited
            raise EOFError from None

    def hang_up(self) -> None:
        """A pipe knows no such thing; closing it wakes whoever reads it."""
        self._connection.close()

    def close(self) -> None:
        self._connection.close()


def frames_over(connection: Any) -> SocketFrames | PipeFrames:
    """What carries frames over `connection`, which belongs to it from now on."""
    return PipeFrames(connection) if sys.platform == "win32" else SocketFrames(connection)

"""pip with a limit on its speed, which it has no option for: `python limited_pip.py BYTES_A_SECOND pip's words`.

Run as a program of its own, with nothing of ours imported. Every byte that pip receives, encrypted or not, passes
`socket.SocketIO.readinto`; there it waits as long as the bytes should take.
"""

import runpy
import socket
import sys
from time import monotonic, sleep
from typing import Any

_STEPS = 20


def limit(rate: int) -> None:
    """Have all sockets of this process together receive at most `rate` bytes a second."""
    receive, free = socket.SocketIO.readinto, 0.0

    def readinto(self: socket.SocketIO, buffer: Any) -> int | None:
        nonlocal free
        count = receive(self, memoryview(buffer)[: max(1, rate // _STEPS)])
        free = max(free, monotonic()) + (count or 0) / rate
        sleep(max(0.0, free - monotonic()))
        return count

    socket.SocketIO.readinto = readinto  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    sys.argv = ["pip", *sys.argv[2:]]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)

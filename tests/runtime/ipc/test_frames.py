"""Frames: whole and in order, however the system cuts them."""

import os
import struct
from multiprocessing import Pipe
from threading import Thread
from typing import Any

import pytest

from unillm.runtime.ipc.frames import Frames, PipeFrames, SocketFrames

MESSAGES = [b"", b"x", b"y" * 70_000, b"z"]


@pytest.mark.parametrize("kind", [SocketFrames, PipeFrames])
def test_frames_arrive_whole_and_in_order_and_then_the_end(kind: Any) -> None:
    one, other = (kind(end) for end in Pipe())

    def send() -> None:
        for message in MESSAGES:
            left = one.offer(one.framed(message))
            if left is not None:
                one.send(left)
        one.hang_up()

    sender = Thread(target=send)
    sender.start()
    assert received(other) == MESSAGES
    sender.join()
    one.close()
    other.close()


def test_a_frame_that_comes_byte_by_byte_is_one_frame() -> None:
    here, there = Pipe()
    frames = SocketFrames(there)
    for byte in struct.pack("!i", 3) + b"abc":
        assert frames.ready() == []
        os.write(here.fileno(), bytes([byte]))
    assert frames.ready() == [b"abc"]
    here.close()
    frames.close()


@pytest.mark.parametrize("length", [-1, (1 << 30) + 1])
def test_a_length_that_no_frame_has_breaks_the_connection(length: int) -> None:
    here, there = Pipe()
    frames = SocketFrames(there)
    os.write(here.fileno(), struct.pack("!i", length))
    with pytest.raises(OSError, match="bytes"):
        frames.receive()
    here.close()
    frames.close()


def received(frames: Frames) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found += frames.receive()
        except EOFError:
            return found

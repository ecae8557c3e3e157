"""Messages between processes: typed, never pickled, from nobody who does not know the secret."""

import asyncio
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest

from unillm.runtime.ipc.channel import Addresses, Channel, Door, connect, forget
from unillm.runtime.ipc.messages import Abort, Address, Leave, ToText
from unillm.tests.support.hosts import until


class Heard:
    """One end of a channel, and what came there."""

    def __init__(self, connection: Any) -> None:
        self.messages: SimpleQueue[Any] = SimpleQueue()
        self.channel: Channel[Any] = Channel(connection, ToText, self.messages.put)
        self.channel.start()

    def next(self) -> Any:
        return self.messages.get(timeout=10)


@dataclass(frozen=True)
class Place:
    """Where somebody listens, and whoever was let in there."""

    address: Address
    admitted: SimpleQueue[Any]

    def ends(self) -> tuple[Heard, Heard]:
        here = connect(self.address)
        return Heard(here), Heard(self.admitted.get(timeout=10))


@pytest.fixture
def place() -> Iterator[Place]:
    addresses, admitted = Addresses(), SimpleQueue[Any]()
    address = addresses.new()
    door = Door(address)
    door.admit(admitted.put)
    yield Place(address, admitted)
    door.close()
    addresses.close()


def test_what_is_sent_arrives_in_order_and_whole(place: Place) -> None:
    one, other = place.ends()
    for number in range(100):
        one.channel.send(Abort(number))
    one.channel.send(Leave("x" * (5 << 20)))
    assert [other.next().number for _ in range(100)] == list(range(100))
    assert other.next() == Leave("x" * (5 << 20))


def test_sending_to_somebody_who_does_not_read_never_waits_and_loses_nothing(place: Place) -> None:
    here = connect(place.address)
    other = place.admitted.get(timeout=10)
    channel: Channel[Any] = Channel(here, ToText, lambda _: None)
    channel.start()
    for number in range(8):
        channel.send(Leave(f"{number}" + "x" * (1 << 20)))
    late = Heard(other)
    assert [late.next().key[0] for _ in range(8)] == list("01234567")
    channel.close()
    assert late.next() is None


def test_an_event_loop_hears_what_is_sent_and_the_end(place: Place) -> None:
    async def check() -> None:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        channel: Channel[Any] = Channel(connect(place.address), ToText, heard.put_nowait)
        channel.start_in(asyncio.get_running_loop())
        other = Heard(place.admitted.get(timeout=10))
        other.channel.send(Abort(1))
        other.channel.send(Leave("x" * (1 << 20)))
        assert [await heard.get(), await heard.get()] == [Abort(1), Leave("x" * (1 << 20))]
        channel.send(Abort(2))
        assert await asyncio.to_thread(other.next) == Abort(2)
        other.channel.close()
        assert await heard.get() is None

    asyncio.run(check())


def test_what_somebody_said_who_has_gone_is_heard_to_the_end_at_once(place: Place) -> None:
    async def check() -> None:
        heard: list[Any] = []
        channel: Channel[Any] = Channel(connect(place.address), ToText, heard.append)
        channel.start_in(asyncio.get_running_loop())
        other = Heard(place.admitted.get(timeout=10))
        other.channel.send(Abort(1))
        other.channel.close()
        assert await asyncio.to_thread(other.next) is None
        channel.finish(asyncio.get_running_loop())
        assert heard == [Abort(1), None]

    asyncio.run(check())


def test_both_ends_hear_of_the_end_after_all_that_was_sent(place: Place) -> None:
    one, other = place.ends()
    one.channel.send(Leave("last"))
    one.channel.close()
    assert (other.next(), other.next(), one.next()) == (Leave("last"), None, None)


def test_nothing_stays_open_and_no_thread_stays(place: Place) -> None:
    threads, before = threading.active_count(), _open_files()
    one, _ = place.ends()
    one.channel.close()
    until(lambda: threading.active_count() <= threads + 1, 10)  # the door's own is left
    until(lambda: _open_files() <= before + 1, 10)


def test_who_does_not_know_the_secret_is_turned_away_and_others_are_still_let_in(place: Place) -> None:
    with pytest.raises((AuthenticationError, EOFError, ConnectionError)):
        Client(place.address.path, authkey=b"guessed")
    connect(place.address).close()
    place.admitted.get(timeout=10).close()
    assert place.admitted.empty()


@pytest.mark.parametrize("sent", [pickle.dumps(Path("x")), b"", b"\xc1", msgspec.msgpack.encode({"type": "Nobody"})])
def test_what_is_no_message_ends_the_connection(place: Place, sent: bytes) -> None:
    with connect(place.address) as here:
        other = Heard(place.admitted.get(timeout=10))
        here.send_bytes(sent)
        assert other.next() is None


def test_only_this_user_can_reach_an_address_and_nothing_is_left_of_it() -> None:
    address = Addresses().new()
    folder = Path(address.path).parent
    assert folder.stat().st_mode & 0o077 == 0
    Path(address.path).touch()
    forget(address)
    assert not folder.exists()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))

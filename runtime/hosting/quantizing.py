"""A model in fewer bits, written by a process of its own: whoever answers is not held up, and what is not wanted any
more ends at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import msgspec

from ...registry.files import ModelFiles
from ..ipc.child import Child
from ..ipc.messages import Broken, FromQuantize, QuantizeSetup, Written, as_text
from .asking import Fault, HostError

DIED = Fault(
    "unavailable", "the process that quantised the model has ended", "see the server's log; memory may be short"
)
_MODULE = "unillm.runtime.ipc.quantize_process"
_TOLD_EVERY = 0.5  # seconds: how long it goes on at most that nobody wants any more


def quantize(files: ModelFiles, mixture: str, target: Path, tell: Callable[[int, int], None]) -> None:
    """Write `target`; blocks until it is there. Raises `HostError`.

    `tell` hears of bytes written and their total every now and then, new or not; what it raises ends the work.
    """
    child = Child(_MODULE, QuantizeSetup(as_text(files), mixture, str(target)), is_heard=True)
    done = Written(0, 0)
    try:
        for said in _heard(child):
            if isinstance(said, Broken):
                raise HostError(said.fault)
            done = said or done
            tell(done.done, done.total)
        if child.wait():
            raise HostError(DIED)
    finally:
        child.stop()


def _heard(child: Child) -> Iterator[FromQuantize | None]:
    """What it tells until its end; None whenever it has told nothing for a while."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        with child.told as told:
            for line in told:
                lines.put(line)
        lines.put(b"")

    Thread(target=read, daemon=True, name="hears").start()
    decoder = msgspec.json.Decoder[FromQuantize](FromQuantize)
    while True:
        try:
            line = lines.get(timeout=_TOLD_EVERY)
        except Empty:
            yield None
            continue
        if not line:
            return
        yield decoder.decode(line)

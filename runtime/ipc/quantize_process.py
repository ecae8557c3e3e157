"""The process that writes a model in fewer bits: `python -m unillm.runtime.ipc.quantize_process`.

It tells how far it is on its standard output, a line of JSON each time, and gives way to whoever answers. It ends when
its parent does, or wants it to.
"""

import logging
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...registry.events import Event, Progress
from ..hosting.faults import fault_of
from ..logs import log_to_stderr
from .child import end_with_parent, read_setup
from .messages import Broken, FromQuantize, QuantizeSetup, Written, as_files

_LOG = logging.getLogger(__name__)
_NICENESS = 10


def main() -> None:
    log_to_stderr("quantize")
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no line of ours
    setup = read_setup(QuantizeSetup)
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    os._exit(_status(setup, told))  # a thread waits for the parent, and would hold up an orderly end


def _status(setup: QuantizeSetup, told: BinaryIO) -> int:
    files = as_files(setup.files)

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            _say(told, Written(event.done, event.total or event.done))

    try:
        from ..quantizing.convert import quantize_model  # late: it takes torch, whose absence is told too

        quantize_model(files, setup.mixture, Path(setup.target), tell)
    except Exception as error:  # a door: why it cannot be done is told to who wants it
        fault = fault_of(error, files)
        if fault.kind == "internal":
            _LOG.error("a model was not quantised", exc_info=error)
        _say(told, Broken(fault))
        return 1
    return 0


def _say(told: BinaryIO, message: FromQuantize) -> None:
    told.write(msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    main()

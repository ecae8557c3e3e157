"""Which implementation serves a call: by the kind of weight (or of numbers), where it runs, and the number of rows.

A table is a tuple of entries in order of preference; the last ones are plain torch.
"""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from torch import Tensor

from ..contract import Weight
from ..quantized import FILE

Run = TypeVar("Run")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Run]):
    """An implementation and what it serves; None means any."""

    run: Run
    kinds: frozenset[str] | None = None
    devices: frozenset[str] | None = None
    most_rows: int | None = None

    def serves(self, kind: str, device: str, rows: int) -> bool:
        return (
            (self.kinds is None or kind in self.kinds)
            and (self.devices is None or device in self.devices)
            and (self.most_rows is None or rows <= self.most_rows)
        )


@dataclass(frozen=True, slots=True)
class Table(Generic[Run]):
    """The entries of one operation."""

    entries: tuple[Entry[Run], ...]

    def choose(self, kind: str, device: str, rows: int) -> Run:
        for entry in self.entries:
            if entry.serves(kind, device, rows):
                return entry.run
        raise LookupError(f"no implementation serves {kind} on {device}")


DENSE: Final = "dense"
COMPILED: Final = "cpu with kernels"


def kind_of(weight: Weight) -> str:
    """What a table calls a weight: "dense", the packed kind, or the layout where that is not the file's."""
    if isinstance(weight, Tensor):
        return DENSE
    return weight.kind if weight.layout == FILE else weight.layout


def place_of(x: Tensor, kernels: Any) -> str:
    """What a table calls the device that a call runs on."""
    device = x.device.type
    return COMPILED if kernels is not None and device == "cpu" else device

"""What one run of a foreign template may use: time, memory, and how large a single value may become.

Values are weighed as if written out in full, for lists may hold the same list again and again; each object is looked at
once, since nothing that a template can reach changes. All that a run ever makes is charged, whether it lives or not, so
that what lives can never be more.
"""

import sys
from time import monotonic
from typing import Final

SECONDS: Final = 1.5
MEMORY: Final = 64 << 20  # bytes made by one run
LARGEST: Final = 16 << 20  # bytes of one value, written out
OUTPUT: Final = 1 << 20  # characters of text
PER_INPUT: Final = 64  # more of memory for each byte of input: a long conversation is no bomb

PER_ITEM: Final = 64  # bytes of a new list for each thing in it, with what Python keeps around
PER_CALL: Final = 64


class LimitReached(Exception):
    """A template asked for more than any conversation needs. `what` says of what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Meter:
    """The account of one run, opened with what the run is given."""

    def __init__(self, given: object = None) -> None:
        self._weights: dict[int, tuple[int, object]] = {}
        size = self.weigh(given)
        self._deadline = monotonic() + SECONDS
        self._left = MEMORY + PER_INPUT * size
        self._largest = LARGEST + 8 * size
        self._output = OUTPUT + 4 * size

    def forget(self) -> None:
        """Let go of what was weighed: the run is over, and a long conversation should not wait for a collector."""
        self._weights.clear()

    def tick(self) -> None:
        """Look at the clock."""
        if monotonic() > self._deadline:
            raise LimitReached(f"more than {SECONDS:g} s")

    def reserve(self, size: int) -> None:
        """Charge for `size` bytes that are about to be made, or were just made."""
        self.tick()
        if size > self._largest:
            raise LimitReached(f"a value of more than {self._largest >> 20} MB")
        self._left -= size
        if self._left < 0:
            raise LimitReached(f"more than {MEMORY >> 20} MB of memory")

    def spend_output(self, characters: int) -> None:
        """Charge for text that is handed out."""
        self.tick()
        self._output -= characters
        if self._output < 0:
            raise LimitReached(f"more than {OUTPUT >> 20} MB of text")

    def made(self, value: object, parts: bool = False) -> None:
        """Charge for a new value; `parts` says that what it holds is new too."""
        weight = self.weigh(value)
        if weight > self._largest:
            raise LimitReached(f"a value of more than {self._largest >> 20} MB")
        shallow = PER_ITEM * len(value) if isinstance(value, list | tuple | dict) else weight
        self.reserve(weight if parts else shallow)

    def weigh(self, value: object) -> int:
        """The bytes of `value` if it were written out in full."""
        if isinstance(value, str | bytes | int | float):
            return sys.getsizeof(value)
        if not isinstance(value, list | tuple | dict):
            return PER_CALL
        known = self._weights.get(id(value))
        if known is None:
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            weight = PER_CALL + sum(self.weigh(item) + 8 for item in inner)
            known = self._weights[id(value)] = (weight, value)  # the value too: its id stays its own
        return known[0]

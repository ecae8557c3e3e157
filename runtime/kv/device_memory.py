"""Addresses of a GPU of which memory is taken only for what is used, by the virtual memory of CUDA's driver.

Plain torch can reserve no addresses: what it allocates lies wherever it happens to, so that a pool that grew by torch
alone would either have a table of slabs in every kernel, or be copied and every recorded step thrown away. The driver
maps memory behind addresses that were reserved once: kernels and recorded steps know one base, for ever.

A unit of memory may lie under the end of one slab and the beginning of the next: it stays until both have gone. Knows
bytes, and neither pages nor budgets.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol
from weakref import finalize

from torch import Tensor

from ..errors import NotEnoughMemory

UNIT: Final = 32 << 20  # bytes that come and go together: a driver takes about as long for many as for few
OUT_OF_MEMORY: Final = 2


class DriverRefused(RuntimeError):
    """A call of CUDA's driver did not go well. `code` is what it returned."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned {code}")
        self.code = code


class Driver(Protocol):
    """What a region asks of a GPU. Each raises `DriverRefused`."""

    @property
    def grain(self) -> int:
        """Bytes of which addresses and sizes are multiples."""
        ...

    def reserve(self, size: int) -> int:
        """The first of so many addresses, behind which there is nothing."""
        ...

    def free(self, address: int, size: int) -> None: ...
    def map(self, address: int, size: int) -> None:
        """Put memory behind addresses that have none."""
        ...

    def unmap(self, address: int, size: int) -> None:
        """Take back what one `map` put there, once all work that was asked for is done."""
        ...

    def spare(self) -> None:
        """Part with memory that is only kept in case."""
        ...


class Addresses:
    """Addresses as torch takes them for a tensor, which keeps this for as long as any of its views is there."""

    def __init__(self, base: int, size: int) -> None:
        self.base, self.size = base, size

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (self.size,), "typestr": "|u1", "data": (self.base, False), "strides": None, "version": 3}


class DeviceRegion:
    """A region of a GPU: memory behind each unit that is in use. What comes is 0, as in other regions.

    Its first unit is always there, for torch looks behind the first address to see whose it is.
    """

    grows = True

    def __init__(self, size: int, driver: Driver, tensor_over: Callable[[Addresses], Tensor]) -> None:
        self._driver = driver
        self._unit = -(-UNIT // driver.grain) * driver.grain
        whole = -(-max(size, 1) // self._unit) * self._unit
        try:
            self._base = driver.reserve(whole)
        except DriverRefused as error:
            raise NotEnoughMemory(size, 0, f"reserving addresses ({error})") from error
        addresses, self._mapped = Addresses(self._base, size), set[int]()
        finalize(addresses, _leave, driver, self._base, whole, self._unit, self._mapped).atexit = False
        self._users = Counter[int]()
        self._take([0])
        self._users[0] += 1
        self.bytes = tensor_over(addresses)
        self._clear([0])

    def commit(self, start: int, stop: int) -> None:
        """All of it or nothing. Raises `NotEnoughMemory`."""
        units = self._units(start, stop)
        missing = [unit for unit in units if not self._users[unit]]
        self._take(missing)
        self._users.update(units)
        self._clear(missing)

    def give_back(self, start: int, stop: int) -> None:
        for unit in self._units(start, stop):
            self._users[unit] -= 1
            if not self._users[unit]:
                self._part_with(unit)

    def _take(self, units: list[int]) -> None:
        try:
            for unit in units:
                self._map(self._base + unit * self._unit)
                self._mapped.add(unit)
        except DriverRefused as error:
            for unit in self._mapped.intersection(units):
                self._part_with(unit)
            raise NotEnoughMemory(len(units) * self._unit, 0, f"the cache to grow by ({error})") from error

    def _map(self, address: int) -> None:
        try:
            self._driver.map(address, self._unit)
        except DriverRefused as error:
            if error.code != OUT_OF_MEMORY:
                raise
            self._driver.spare()
            self._driver.map(address, self._unit)

    def _part_with(self, unit: int) -> None:
        self._driver.unmap(self._base + unit * self._unit, self._unit)
        self._mapped.discard(unit)

    def _clear(self, units: list[int]) -> None:
        for unit in units:
            self.bytes[unit * self._unit : (unit + 1) * self._unit].zero_()

    def _units(self, start: int, stop: int) -> range:
        return range(start // self._unit, -(-stop // self._unit))


def _leave(driver: Driver, base: int, size: int, unit: int, mapped: set[int]) -> None:
    """With the last tensor; a process that ends gives everything back anyway."""
    with suppress(DriverRefused):
        for one in mapped:
            driver.unmap(base + one * unit, unit)
        driver.free(base, size)

"""How much memory a model will take, said before it is loaded, and what is left for another one."""

from dataclasses import dataclass

from ...registry.amounts import bytes_text
from ...registry.files import ModelFiles
from .asking import Fault, HostError

LEAST_CACHE = 64 << 20  # bytes: a model with less for its keys and values is of no use
_WORKING = 256 << 20  # an interpreter, torch, intermediate results
_SHARE = 0.5  # of what is left beside the weights, for keys and values: another model shall find room too


@dataclass(frozen=True, slots=True)
class Need:
    """`weights` bytes that must be there, and at least `cache` for keys and values."""

    weights: int
    cache: int = LEAST_CACHE

    @property
    def least(self) -> int:
        return self.weights + self.cache + _WORKING

    def granted(self, free: int) -> tuple[int, int]:
        """What is reserved in all of `free` bytes, and the part of it for keys and values."""
        cache = max(self.cache, int((free - self.weights - _WORKING) * _SHARE))
        return self.weights + cache + _WORKING, cache


def need_of(files: ModelFiles) -> Need:
    """From the sizes of the files alone: weights are kept as they are stored."""
    return Need(sum(path.stat().st_size for path in files.weights))


def working_memory() -> int:
    """What a model's process takes besides weights, keys and values."""
    return _WORKING


def no_room(name: str, need: Need, free: int, total: int, retry_after: float | None = None) -> HostError:
    return HostError(
        Fault(
            "no_memory",
            f"{name} needs {bytes_text(need.least)} of memory; of {bytes_text(total)} for models "
            f"{bytes_text(max(free, 0))} can be had",
            "stop a model that is loaded, or take a smaller quantisation",
            field="model",
            retry_after=retry_after,
            numbers={"needed": need.least, "available": max(free, 0), "total": total},
        )
    )

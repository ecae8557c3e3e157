"""What a server is put under, and the driver: so many requests, so many at once, or as they come at a rate.

Arrivals at a rate are those of people who know nothing of each other: the times between them are exponential, the same
ones in every run.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from time import perf_counter, sleep
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """`requests` prompts and answers of these lengths in tokens, at most `concurrency` at once; `rate` a second where
    they do not all come at once.
    """

    requests: int = 64
    concurrency: int = 8
    rate: float | None = None
    prompt_tokens: int = 128
    answer_tokens: int = 128


def drive(load: Load, ask: Callable[[int], T]) -> tuple[list[T], float]:
    """What came of each request, and the seconds that all took. `ask` is called in threads and raises nothing."""
    began = perf_counter()
    with ThreadPoolExecutor(load.concurrency, "asks") as askers:
        asked = []
        for number, pause in enumerate(_pauses(load)):
            sleep(pause)
            asked.append(askers.submit(ask, number))
        return [one.result() for one in asked], perf_counter() - began


def _pauses(load: Load) -> list[float]:
    """Seconds before each request."""
    if load.rate is None:
        return [0.0] * load.requests
    random = Random(0)
    return [0.0, *(random.expovariate(load.rate) for _ in range(load.requests - 1))]

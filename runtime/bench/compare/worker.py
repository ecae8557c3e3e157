"""The process of one peer: reads names of tests, answers with figures, until its input ends.

    python -m unillm.runtime.bench.compare.worker MODULE FILE THREADS
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TypeAlias

from ..memory import peak_memory
from .tests import TESTS, Test

# Answer each of some prompts with so many tokens, whatever they are.
Generate: TypeAlias = Callable[[Sequence[Sequence[int]], int], None]


class Measured:
    """A peer's `Generate`, and prompts that it has not seen before."""

    def __init__(self, generate: Generate, vocabulary: int) -> None:
        self._generate, self._vocabulary, self._random = generate, vocabulary, Random(os.getpid())

    def figure(self, test: Test) -> float:
        if test.counts == "prompts":
            return test.prompt / self._seconds(test, 1)
        if test.counts == "answers" and test.requests > 1:
            return test.requests * test.answer / self._seconds(test, test.answer)
        if test.counts == "answers":
            first = self._seconds(test, 1)
            return test.answer / (self._seconds(test, test.answer + 1) - first)
        self._seconds(test, test.answer)
        return float(peak_memory() or 0)

    def warm_up(self) -> None:
        self._seconds(Test("warm", "", "answers", 16, 4), 4)

    def _seconds(self, test: Test, answer: int) -> float:
        prompts = [[self._random.randrange(self._vocabulary) for _ in range(test.prompt)] for _ in range(test.requests)]
        began = perf_counter()
        self._generate(prompts, answer)
        return perf_counter() - began


def main(module: str, file: str, threads: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    os.environ["OMP_NUM_THREADS"] = threads
    measured: Measured | None = None
    for line in sys.stdin:
        test = TESTS[line.strip()]
        fresh = measured is None
        if measured is None:
            generate, vocabulary = import_module(f".{module}", __package__).load(Path(file), int(threads))
            measured = Measured(generate, vocabulary)
        if fresh and test.counts not in ("first", "memory"):
            measured.warm_up()
        answers.write(json.dumps({"figure": measured.figure(test)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

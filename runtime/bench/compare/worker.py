"""The process of one peer: reads names of trials, answers with figures, until its input ends.

python -m unillm.runtime.bench.compare.worker MODULE FILE THREADS
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Final, TypeAlias

from ..memory import peak_memory
from .trials import TRIALS, Trial

_MOST_SAID: Final = 300

# Answer each of some prompts with so many tokens, whatever they are.
Generate: TypeAlias = Callable[[Sequence[Sequence[int]], int], None]


class Measured:
    """A peer's `Generate`, and prompts that it has not seen before."""

    def __init__(self, generate: Generate, vocabulary: int) -> None:
        self._generate, self._vocabulary, self._random = generate, vocabulary, Random(os.getpid())

    def figure(self, trial: Trial) -> float:
        if trial.counts == "prompts":
            return trial.prompt / self._seconds(trial, 1)
        if trial.counts == "answers" and trial.requests > 1:
            return trial.requests * trial.answer / self._seconds(trial, trial.answer)
        if trial.counts == "answers":
            first = self._seconds(trial, 1)
            return trial.answer / (self._seconds(trial, trial.answer + 1) - first)
        self._seconds(trial, trial.answer)
        return float(peak_memory() or 0)

    def warm_up(self) -> None:
        self._seconds(Trial("warm", "", "answers", 16, 4), 4)

    def _seconds(self, trial: Trial, answer: int) -> float:
        prompts = [
            [self._random.randrange(self._vocabulary) for _ in range(trial.prompt)] for _ in range(trial.requests)
        ]
        began = perf_counter()
        self._generate(prompts, answer)
        return perf_counter() - began


def main(module: str, file: str, threads: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    os.environ["OMP_NUM_THREADS"] = threads
    try:
        for figure in _figures(module, Path(file), int(threads)):
            answers.write(json.dumps({"figure": figure}) + "\n")
    except Exception as error:  # the process's own door: whatever a peer raises is its answer
        said = " ".join(f"{type(error).__name__}: {error}".split())
        answers.write(json.dumps({"error": said[:_MOST_SAID]}) + "\n")


def _figures(module: str, file: Path, threads: int) -> Iterator[float]:
    measured: Measured | None = None
    for line in sys.stdin:
        trial = TRIALS[line.strip()]
        fresh = measured is None
        if measured is None:
            generate, vocabulary = import_module(f".{module}", __package__).load(file, threads)
            measured = Measured(generate, vocabulary)
        if fresh and trial.counts not in ("first", "memory"):
            measured.warm_up()
        yield measured.figure(trial)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How fast an engine runs: what `unillm bench` does, and nothing of how it is shown.

Prompts are random token ids, others in each run, so that no run finds its prompt in the prefix cache; answers are
greedy and go on past end tokens, so that every run does the same work.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import median
from time import perf_counter
from typing import Protocol, TypeAlias, TypeVar

from ..params import SamplingParams
from ..results import Completion

SHORT_PROMPT = 16
PEOPLE = {
    "type": "array",
    "minItems": 10_000,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 30},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is run: prompts and answers of these lengths, `batch` at once where several are, each `runs` times."""

    prompt_tokens: int = 512
    answer_tokens: int = 64
    batch: int = 8
    runs: int = 3

    @property
    def longest(self) -> int:
        """The context that the longest request takes."""
        return max(self.prompt_tokens + 1, SHORT_PROMPT + self.answer_tokens)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured, a value a run."""

    name: str
    unit: str
    about: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)


class Answering(Protocol):
    """What is measured: an engine."""

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Completion]: ...


Listener: TypeAlias = Callable[[str, int, int], None]
Prompts: TypeAlias = Callable[[int], list[int]]


def measure(engine: Answering, vocabulary: int, work: Workload, tell: Listener) -> list[Figure]:
    """Run the workload. `tell` hears the test, how many of its runs are done and how many there are.

    The first run of each test is for warming up, and does not count.
    """
    prompts = _prompts(vocabulary)
    reading = _reading(engine, work, prompts, tell)
    return [*reading, _answering(engine, work, prompts, tell), _batch(engine, work, prompts, tell)]


def measure_form(engine: Answering, vocabulary: int, work: Workload, tell: Listener) -> Figure:
    """How much longer each token of an answer takes that is held to a JSON schema, by pairs of an answer that is not
    and one that is.
    """
    prompts, free = _prompts(vocabulary), _greedy(work.answer_tokens)
    held = replace(free, schema=PEOPLE)

    def once() -> float:
        speeds = [engine.generate([prompts(SHORT_PROMPT)], how)[0].timings.tokens_per_second for how in (free, held)]
        return 100 * (speeds[0] / speeds[1] - 1)

    about = f"more time a token where {work.answer_tokens} of them are held to a JSON schema"
    return Figure("schema", "%", about, tuple(_runs("schema", once, work.runs, tell)))


def _reading(engine: Answering, work: Workload, prompts: Prompts, tell: Listener) -> list[Figure]:
    """A long prompt, one token of answer."""

    def once() -> tuple[float, float]:
        timings = engine.generate([prompts(work.prompt_tokens)], _greedy(1))[0].timings
        return timings.prompt_tokens_per_second, timings.first_token

    speeds, waits = zip(*_runs("prompt", once, work.runs, tell), strict=True)
    about = f"{work.prompt_tokens} tokens"
    return [Figure("prompt", "tokens/s", about, speeds), Figure("first token", "s", f"of an answer to {about}", waits)]


def _answering(engine: Answering, work: Workload, prompts: Prompts, tell: Listener) -> Figure:
    """A short prompt, a long answer."""

    def once() -> float:
        return engine.generate([prompts(SHORT_PROMPT)], _greedy(work.answer_tokens))[0].timings.tokens_per_second

    values = tuple(_runs("decode", once, work.runs, tell))
    return Figure("decode", "tokens/s", f"{work.answer_tokens} tokens, one request", values)


def _batch(engine: Answering, work: Workload, prompts: Prompts, tell: Listener) -> Figure:
    """Several at once: answer tokens of all, over the time of the whole."""

    def once() -> float:
        started = perf_counter()
        done = engine.generate([prompts(SHORT_PROMPT) for _ in range(work.batch)], _greedy(work.answer_tokens))
        return sum(one.usage.completion_tokens for one in done) / (perf_counter() - started)

    values = tuple(_runs("batch", once, work.runs, tell))
    return Figure("batch", "tokens/s", f"{work.answer_tokens} tokens, {work.batch} requests at once", values)


def _runs(name: str, once: Callable[[], T], runs: int, tell: Listener) -> Iterator[T]:
    """`once`, the first time for warming up."""
    tell(name, 0, runs)
    once()
    for done in range(1, runs + 1):
        yield once()
        tell(name, done, runs)


def _prompts(vocabulary: int) -> Prompts:
    random = Random(0)
    return lambda length: [random.randrange(vocabulary) for _ in range(length)]


def _greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, temperature=0.0, repetition_penalty=1.0, ignore_eos=True)

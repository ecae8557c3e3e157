"""Many requests handed in at once, all answered to their full length: the offline benchmark of nano-vllm.

Its numbers are its own: 256 prompts of 100 to 1024 random tokens, answers of 100 to 1024, from one seed, so that what
it prints can be held against what others print (https://github.com/GeeeekExplorer/nano-vllm, bench.py).
"""

from dataclasses import dataclass, replace
from random import Random
from time import perf_counter

from ..engine import Engine
from ..params import SamplingParams
from .measure import Figure

WARM_UP = 16  # tokens of one answer, before the clock runs
COMMON = 10_000  # the largest token id of a prompt


@dataclass(frozen=True, slots=True)
class Crowd:
    """`requests` of prompts and answers of `least` to `most` tokens."""

    requests: int = 256
    least: int = 100
    most: int = 1024
    seed: int = 0
    temperature: float = 0.6

    def prompts(self, vocabulary: int) -> tuple[list[list[int]], list[SamplingParams]]:
        """Drawn in the order in which nano-vllm draws them: first all prompts, then how long each answer is."""
        chance = Random(self.seed)
        largest = min(COMMON, vocabulary - 1)
        prompts = [
            [chance.randint(0, largest) for _ in range(chance.randint(self.least, self.most))]
            for _ in range(self.requests)
        ]
        how = SamplingParams(temperature=self.temperature, seed=self.seed, ignore_eos=True)
        return prompts, [replace(how, max_tokens=chance.randint(self.least, self.most)) for _ in prompts]


def measure_throughput(engine: Engine, crowd: Crowd) -> list[Figure]:
    """Tokens a second of all answers together, once; and how many steps that took."""
    prompts, how = crowd.prompts(engine.vocabulary)
    engine.generate(prompts[0][::-1], replace(how[0], max_tokens=WARM_UP))
    before, began = engine.stats(), perf_counter()
    done = engine.generate(prompts, how)
    seconds, after = perf_counter() - began, engine.stats()
    failed = next((one.error for one in done if one.error is not None), None)
    if failed is not None:
        raise failed
    answered = sum(one.usage.completion_tokens for one in done)
    about = f"{crowd.requests} prompts of {sum(map(len, prompts))} tokens, answers of {answered}, all at once"
    gave_way = f"in {seconds:.2f} s; {after.gave_way - before.gave_way} times a request gave way"
    return [
        Figure("throughput", "tokens/s", about, (answered / seconds,)),
        Figure("steps", "", gave_way, (float(after.steps - before.steps),)),
    ]

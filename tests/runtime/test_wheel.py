"""A sequence that is rolled back goes on as if it had never been longer: same pages, same penalties, same chance."""

import random

import pytest

from unillm.runtime.assembly import assemble
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser
from unillm.runtime.sequence import Sequence
from unillm.runtime.wheel import Wheel
from unillm.tests.runtime.fakes import FakeModel

HOW = SamplingParams(
    seed=4, repetition_penalty=1.4, presence_penalty=0.6, frequency_penalty=0.5, logit_bias={5: 4.0, 90: -3.0}
)


def wheel_of(pages: int) -> Wheel:
    model = FakeModel()
    options = EngineOptions(kv_memory=pages * 64, page_size=4, batch_tokens=32, sequences=4)
    return assemble(model, options)[0]


def put(wheel: Wheel, number: int, length: int) -> Sequence:
    sequence = Sequence(number, [(number * 7 + i * i) % 300 for i in range(length)], length + 30)
    wheel.put(sequence, Chooser(HOW, sequence.tokens))
    return sequence


@pytest.mark.parametrize("seed", range(20))
def test_what_was_rolled_back_is_what_was_not(seed: int) -> None:
    chance = random.Random(seed)
    straight, rolled = wheel_of(64), wheel_of(chance.choice([14, 64]))
    expected = [put(straight, number, length) for number, length in enumerate((5, 8, 15))]
    sequences = [put(rolled, number, length) for number, length in enumerate((5, 8, 15))]
    while straight.turn():
        pass
    for _ in range(60):
        rolled.turn()
        rolled.scheduler.check()
        victim = chance.choice(sequences)
        if victim in rolled.scheduler.running and chance.random() < 0.3:
            length = len(victim.tokens)
            rolled.truncate(victim, chance.randint(max(victim.num_prompt, length - 6), length))
            rolled.scheduler.check()
    while rolled.turn():
        rolled.scheduler.check()
    assert [one.tokens for one in sequences] == [one.tokens for one in expected]

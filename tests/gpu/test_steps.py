"""On a GPU: steps that overlap, and steps that are replayed from graphs, say what steps one after the other say."""

from random import Random

import pytest
import torch

from unillm.runtime.bench.dummy import dummy_engine
from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here")

CHOICES = [
    SamplingParams(temperature=0, max_tokens=40),
    SamplingParams(seed=1, max_tokens=25),
    SamplingParams(seed=2, temperature=1.5, top_p=0.9, max_tokens=30),
    SamplingParams(seed=3, top_k=4, max_tokens=35),
    SamplingParams(seed=4, min_p=0.05, max_tokens=19),
    SamplingParams(seed=5, typical_p=0.7, max_tokens=20),
    SamplingParams(seed=6, repetition_penalty=1.3, max_tokens=12),
    SamplingParams(seed=7, logprobs=2, max_tokens=12),
]


def engine_of(*, overlap: bool, graphs: bool, kv_memory: int = 64 << 20) -> Engine:
    """In fp32, so that no near tie is decided by how many rows a product has."""
    options = EngineOptions(
        device="cuda", dtype="fp32", context=512, kv_memory=kv_memory, overlap=overlap, graphs=graphs, draft="off"
    )
    return dummy_engine("qwen3-tiny", options)


def answers(engine: Engine) -> list[tuple[int, ...]]:
    chance = Random(0)
    asked = [[chance.randrange(512) for _ in range(chance.randint(1, 90))] for _ in range(24)]
    done = engine.generate(asked, [CHOICES[i % len(CHOICES)] for i in range(24)])
    return [one.token_ids for one in done]


@pytest.mark.parametrize("graphs", [False, True], ids=["call by call", "graphs"])
def test_overlapped_is_synchronous(graphs: bool) -> None:
    with engine_of(overlap=False, graphs=False) as engine:
        expected = answers(engine)
    with engine_of(overlap=True, graphs=graphs) as engine:
        for _ in range(3):  # the graphs of the first time are those of the next
            assert answers(engine) == expected
        engine.check()
        flights = engine._desk().look(lambda wheel: wheel.flights)
        assert flights is not None
        assert flights.count > 50
        if flights.decodes is not None:
            assert flights.decodes.refused is None
            assert flights.decodes.replayed > 20


def test_what_gave_way_is_what_did_not() -> None:
    with engine_of(overlap=False, graphs=False) as engine:
        expected = answers(engine)
    with engine_of(overlap=True, graphs=True, kv_memory=1 << 20) as engine:
        assert answers(engine) == expected
        assert engine.stats().gave_way > 0

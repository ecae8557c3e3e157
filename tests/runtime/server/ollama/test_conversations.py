"""Conversations of several turns, one beside another: each goes on from what was said in it, and in no other."""

import asyncio
from collections.abc import Sequence

import ollama
import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.support.serving import Serving

TURNS = ("Why?", "And then?", "Since when?", "Who says so?", "Where?", "Is that all?")
GREEDY = {"temperature": 0, "num_predict": 10}
History = list[dict[str, str]]


async def spoken(client: ollama.AsyncClient, model: str, begin: str, turns: Sequence[str]) -> History:
    """All that was said, the model's answers included."""
    said: History = [{"role": "system", "content": begin}]
    for turn in turns:
        said.append({"role": "user", "content": turn})
        answer = await client.chat(model=model, messages=said, options=GREEDY)
        said.append({"role": "assistant", "content": answer.message.content or ""})
    return said


def alone(engine: Engine, said: History) -> History:
    """The same, each turn asked of an engine that remembers nothing."""
    told: History = []
    for message in said:
        if message["role"] == "assistant":
            answer = engine.chat(told, SamplingParams(temperature=0, max_tokens=10))
            assert isinstance(answer, Completion)
            message = {"role": "assistant", "content": answer.text}
        told.append(message)
    return told


@pytest.mark.parametrize("topics", [("rain",), ("rain", "stone", "bread")], ids=["alone", "beside others"])
def test_a_conversation_goes_on_from_its_own_history(server: Serving, engine: Engine, topics: tuple[str, ...]) -> None:
    """A16, A17"""

    async def together() -> list[History]:
        async with ollama.AsyncClient(server.url) as client:
            return await asyncio.gather(*(spoken(client, server.model, topic, TURNS) for topic in topics))

    for said in asyncio.run(together()):
        assert said == alone(engine, said)

"""A trained model behind the server, asked by the clients that people use: answers that are about what was asked."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from unillm.tests.support.packages import smollm2_gguf
from unillm.tests.support.serving import Serving, serving

pytestmark = pytest.mark.weights

SKY = "why is the sky blue? Be brief but factual in your reply"
ABOUT_SKY = ("rayleigh", "scatter", "atmosphere", "nitrogen", "oxygen", "wavelength", "interact", "sunlight")
GREEDY = {"temperature": 0, "seed": 123, "num_predict": 80}


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(smollm2_gguf(), tmp_path_factory.mktemp("real"), ("--keep-alive", "-1")) as served:
        yield served


def is_about_the_sky(text: str) -> bool:
    return any(word in text.lower() for word in ABOUT_SKY)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_ollamas_client_is_answered(smol: Serving, stream: bool) -> None:
    """A1, A2, A3"""
    with ollama.Client(smol.url) as client:
        generating: Any = client.generate(smol.model, SKY, stream=stream, options=GREEDY)
        chatting: Any = client.chat(smol.model, [{"role": "user", "content": SKY}], stream=stream, options=GREEDY)
        generated = list(generating) if stream else [generating]
        chatted = list(chatting) if stream else [chatting]
    assert is_about_the_sky("".join(one.response for one in generated))
    assert "".join(one.message.content or "" for one in chatted) == "".join(one.response for one in generated)
    for last in (generated[-1], chatted[-1]):
        assert last.done
        assert last.eval_count > 10
        assert last.prompt_eval_count > 10


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_openais_client_gets_the_same(smol: Serving, stream: bool) -> None:
    with openai.OpenAI(base_url=f"{smol.url}/v1", api_key="none", max_retries=0) as client:
        asked: dict[str, Any] = {"model": smol.model, "temperature": 0, "max_completion_tokens": 80}
        answer: Any = client.chat.completions.create(
            messages=[{"role": "user", "content": SKY}], stream=stream, **asked
        )
        text = (
            "".join(one.choices[0].delta.content or "" for one in answer)
            if stream
            else answer.choices[0].message.content
        )
        response = client.responses.create(model=smol.model, input=SKY, temperature=0, max_output_tokens=80)
    assert is_about_the_sky(text)
    assert response.output_text == text == _by_ollama(smol)


def test_anthropics_client_gets_the_same(smol: Serving) -> None:
    async def asked() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=smol.url, api_key="none", max_retries=0) as client:
            asking: dict[str, Any] = {"model": smol.model, "max_tokens": 80, "extra_body": {"temperature": 0}}
            asking["messages"] = [{"role": "user", "content": SKY}]
            whole = await client.messages.create(**asking)
            async with client.messages.stream(**asking) as stream:
                return whole.content[0].text, await stream.get_final_text()

    assert set(asyncio.run(asked())) == {_by_ollama(smol)}


def test_scores_are_those_of_tokens_and_alternatives_come_in_order(smol: Serving) -> None:
    """A7, A8, A9"""
    with ollama.Client(smol.url) as client:
        said = [{"role": "user", "content": "Write a long story."}]
        parts = client.chat(
            smol.model, said, stream=True, logprobs=True, top_logprobs=3, options={**GREEDY, "num_predict": 10}
        )
        scored = [entry for part in parts for entry in part.logprobs or ()]
    assert len(scored) == 10
    for entry in scored:
        assert entry.token
        assert isfinite(entry.logprob)
        assert entry.logprob <= 0
        assert all(one.logprob >= other.logprob for one, other in pairwise(entry.top_logprobs or ()))


@pytest.mark.parametrize(
    "prompt", ["天空为什么是蓝色的?", "Output some smily face emoji: 😀 😃 😄", "Écris en français: l'été"]
)
def test_every_line_of_a_stream_is_whole_text(smol: Serving, prompt: str) -> None:
    """A10, A11: no character is cut over two of them."""
    with httpx.stream(
        "POST", f"{smol.url}/api/generate", json={"model": smol.model, "prompt": prompt, "options": GREEDY}, timeout=60
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert len(lines) > 1
    assert all("\ufffd" not in line for line in lines)


def test_a_prompt_beyond_the_context_is_answered_or_refused_with_numbers(smol: Serving) -> None:
    """A13"""
    prompt = "Europe had many wars before it had peace, and Russia was in some of them. " * 25
    body = {"model": smol.model, "prompt": prompt, "stream": False, "options": {**GREEDY, "num_ctx": 128}}
    for wanted, status in (
        ({"truncate": False}, 400),
        ({}, 400),
        ({"raw": True}, 200),
    ):  # one message is not cut in two
        answer = httpx.post(f"{smol.url}/api/generate", json={**body, **wanted}, timeout=60)
        assert answer.status_code == status
        assert "128" in answer.json()["error"] if status == 400 else answer.json()["truncated"] > 100


def test_conversations_at_once_keep_to_their_topics(smol: Serving) -> None:
    """A16, A17, A18"""
    topics = {"rainbows": ("rainbow", "light", "color"), "the ocean": ("water", "sea", "ocean")}

    async def talk(client: ollama.AsyncClient, topic: str) -> str:
        said: list[dict[str, str]] = []
        for turn in (f"Tell me about {topic} in one sentence.", f"Tell me one more thing about {topic}."):
            said.append({"role": "user", "content": turn})
            answer = await client.chat(smol.model, said, options=GREEDY)
            said.append({"role": "assistant", "content": answer.message.content or ""})
        return " ".join(one["content"].lower() for one in said if one["role"] == "assistant")

    async def all_of_them() -> list[str]:
        async with ollama.AsyncClient(smol.url) as client:
            return list(await asyncio.gather(*(talk(client, topic) for topic in topics)))

    rainbows, ocean = asyncio.run(all_of_them())
    assert any(word in rainbows for word in topics["rainbows"])
    assert any(word in ocean for word in topics["the ocean"])
    assert "ocean" not in rainbows
    assert "rainbow" not in ocean


def _by_ollama(smol: Serving) -> str:
    with ollama.Client(smol.url) as client:
        return client.chat(smol.model, [{"role": "user", "content": SKY}], options=GREEDY).message.content or ""


def test_the_file_is_called_by_its_name(smol: Serving) -> None:
    assert smol.model == Path(smollm2_gguf()).name

"""/v1/chat/completions, asked by OpenAI's own client of a running server."""

import asyncio
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.tests.support.serving import Serving

SAID: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Why is the sky blue?"}]


def streamed(client: Any, server: Serving, **more: Any) -> list[ChatCompletionChunk]:
    asked: Any = {"messages": SAID, "temperature": 0, "max_tokens": 24, **more}
    return list(client.chat.completions.create(model=server.model, stream=True, **asked))


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    told = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in told)


def test_it_says_what_the_engine_says_streamed_or_not(client: Any, server: Serving, engine: Engine) -> None:
    ways: list[dict[str, Any]] = [{"temperature": 0.0}, {"temperature": 0.9, "seed": 7, "top_p": 0.8}]
    for params in ways:
        here = engine.chat(SAID, SamplingParams(max_tokens=24, **params))
        there = client.chat.completions.create(model=server.model, messages=SAID, max_tokens=24, **params)
        assert there.choices[0].message.content == here.text
        assert text_of(streamed(client, server, **params)) == here.text
        assert there.choices[0].finish_reason == "length"
        assert (there.usage.prompt_tokens, there.usage.completion_tokens) == (here.usage.prompt_tokens, 24)


def test_our_own_fields_reach_the_sampler(client: Any, server: Serving, engine: Engine) -> None:
    ours: dict[str, Any] = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.3, "typical_p": 0.9, "ignore_eos": True}
    theirs: dict[str, Any] = {
        "temperature": 1.2,
        "seed": 3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "max_tokens": 40,
    }
    here = engine.chat(SAID, SamplingParams(**theirs, **ours, logit_bias={70: 5.0}, stop_token_ids=(71,)))
    there = client.chat.completions.create(
        model=server.model,
        messages=SAID,
        logit_bias={"70": 5},
        **theirs,
        extra_body={**ours, "stop_token_ids": [71], "priority": 1, "keep_alive": "-1s"},
    )
    assert there.choices[0].message.content == here.text


def test_a_stream_is_the_role_the_text_the_reason_the_usage_and_done(server: Serving) -> None:
    """A45"""
    body = {"messages": SAID, "stream": True, "max_tokens": 3, "stream_options": {"include_usage": True}}
    lines = [line for line in server.post("/v1/chat/completions", **body).text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [ChatCompletionChunk.model_validate_json(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-2].choices[0].delta.model_dump(exclude_none=True) == {}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert all('"usage":null' in line for line in lines[:-2])


def test_without_being_asked_a_stream_tells_no_usage(client: Any, server: Serving) -> None:
    """A45"""
    chunks = streamed(client, server, max_tokens=2)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_several_answers_are_told_apart(client: Any, server: Serving, engine: Engine) -> None:
    more: dict[str, Any] = {"n": 3, "temperature": 1.0, "seed": 5, "max_tokens": 12}
    here = engine.chat(SAID, SamplingParams(**more))
    texts = [here.text, *(other.text for other in here.alternatives)]
    there = client.chat.completions.create(model=server.model, messages=SAID, **more)
    assert [choice.message.content for choice in there.choices] == texts
    assert there.usage is not None
    made = sum(one.usage.completion_tokens for one in (here, *here.alternatives))
    assert (there.usage.completion_tokens, there.usage.prompt_tokens) == (made, here.usage.prompt_tokens)
    chunks = streamed(client, server, **more)
    assert [text_of(chunks, index) for index in range(3)] == texts


def test_scores_are_the_engines_with_the_bytes_of_each_token(client: Any, server: Serving, engine: Engine) -> None:
    here = engine.chat(SAID, SamplingParams(temperature=0, max_tokens=24, logprobs=3))
    there = client.chat.completions.create(
        model=server.model, messages=SAID, temperature=0, max_tokens=24, logprobs=True, top_logprobs=3
    )
    told = there.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert here.logprobs is not None
    assert [one.logprob for one in told.content] == pytest.approx([one.logprob for one in here.logprobs], abs=1e-5)
    assert all(len(one.top_logprobs) == 3 for one in told.content)
    for one in told.content:
        assert one.top_logprobs == sorted(one.top_logprobs, key=lambda other: -other.logprob)
    spelled = b"".join(bytes(one.bytes or ()) for one in told.content if not one.token.startswith("<"))
    assert spelled.decode(errors="replace") == there.choices[0].message.content
    chunks = streamed(client, server, logprobs=True, top_logprobs=3)
    parts = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs is not None]
    assert [one for part in parts for one in part.content or ()] == told.content


def test_a_stop_string_ends_the_text_before_it(client: Any, server: Serving, engine: Engine) -> None:
    whole = engine.chat(SAID, SamplingParams(temperature=0, max_tokens=24)).text
    stop = whole[9:11]
    there = client.chat.completions.create(model=server.model, messages=SAID, temperature=0, max_tokens=24, stop=stop)
    assert there.choices[0].message.content == whole[: whole.index(stop)]
    assert there.choices[0].finish_reason == "stop"
    assert text_of(streamed(client, server, stop=["never", stop])) == whole[: whole.index(stop)]


def test_parts_of_text_and_the_developers_role_are_read(client: Any, server: Serving) -> None:
    def tokens(*messages: Any) -> int:
        told = client.chat.completions.create(model=server.model, messages=messages, max_completion_tokens=1)
        assert told.usage is not None
        return int(told.usage.prompt_tokens)

    parts = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    plain = {"role": "user", "content": "ab\ncd"}
    assert tokens({"role": "user", "content": parts}) == tokens(plain)
    assert tokens({"role": "developer", "content": "Be"}, plain) == tokens({"role": "system", "content": "Be"}, plain)


def test_the_second_time_the_prompt_comes_from_the_cache(client: Any, server: Serving) -> None:
    said: Any = [{"role": "user", "content": "a prompt of more than a page " * 4}]
    client.chat.completions.create(model=server.model, messages=said, max_tokens=1)
    told = client.chat.completions.create(model=server.model, messages=said, max_tokens=1)
    assert told.usage is not None
    assert told.usage.prompt_tokens_details is not None
    assert 0 < (told.usage.prompt_tokens_details.cached_tokens or 0) < told.usage.prompt_tokens


def test_what_is_ignored_on_purpose_changes_nothing(client: Any, server: Serving) -> None:
    asked: dict[str, Any] = {"model": server.model, "messages": SAID, "temperature": 0, "max_tokens": 8}
    plain = client.chat.completions.create(**asked).choices[0].message.content
    more = {"user": "me", "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "reasoning_effort": "none"}
    neutral = {"response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "modalities": ["text"]}
    assert client.chat.completions.create(**asked, **more, **neutral).choices[0].message.content == plain


def test_an_answer_can_be_sent_back_as_it_came(client: Any, server: Serving) -> None:
    told = client.chat.completions.create(model=server.model, messages=SAID, max_tokens=2).choices[0].message
    again: Any = [*SAID, told.model_dump(), {"role": "user", "content": "Go on."}]
    assert client.chat.completions.create(model=server.model, messages=again, max_tokens=1).id


def test_the_asynchronous_client_gets_the_same(client: Any, server: Serving) -> None:
    asked: dict[str, Any] = {"model": server.model, "messages": SAID, "temperature": 0, "max_tokens": 8}

    async def talk() -> tuple[list[str | None], str]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
            several = await asyncio.gather(*(one.chat.completions.create(**asked) for _ in range(4)))
            parts = [
                chunk.choices[0].delta.content or ""
                async for chunk in await one.chat.completions.create(**asked, stream=True)
            ]
        return [told.choices[0].message.content for told in several], "".join(parts)

    plain = client.chat.completions.create(**asked)
    whole, pieces = asyncio.run(talk())
    assert {*whole, pieces} == {plain.choices[0].message.content}


def test_langchain_talks_to_it(client: Any, server: Serving) -> None:
    settings: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": 0}
    model = ChatOpenAI(model=server.model, temperature=0, max_tokens=8, **settings)  # type: ignore[call-arg]
    plain = client.chat.completions.create(model=server.model, messages=SAID, temperature=0, max_tokens=8)
    told = model.invoke([("user", "Why is the sky blue?")])
    assert told.content == plain.choices[0].message.content
    assert told.usage_metadata is not None
    assert told.usage_metadata["output_tokens"] == 8
    assert "".join(str(part.content) for part in model.stream([("user", "Why is the sky blue?")])) == told.content

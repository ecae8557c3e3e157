"""/v1/messages, asked by Anthropic's own client of a running server."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from unillm.runtime.engine import Engine
from unillm.runtime.hosting.asking import Fault, Piece
from unillm.runtime.params import SamplingParams
from unillm.runtime.server.anthropic.events import MessageScribe
from unillm.runtime.server.anthropic.types import Message, MessagesBody
from unillm.tests.support.serving import Serving

SAID: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]


def asked(server: Serving, extra: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What every message asks. The newest clients know no sampling: `extra` goes beside what they check."""
    extra_body = {"temperature": 0, **(extra or {})}
    return {"model": server.model, "messages": SAID, "max_tokens": 24, "extra_body": extra_body, **more}


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_it_says_what_the_engine_says_streamed_or_not(client: Any, server: Serving, engine: Engine) -> None:
    """A46"""
    here = engine.chat(
        [{"role": "system", "content": "Be"}, *SAID], SamplingParams(max_tokens=24, temperature=0, top_k=9, top_p=0.9)
    )
    more = asked(server, {"top_k": 9, "top_p": 0.9}, system="Be")
    there = client.messages.create(**more)
    assert said(there) == here.text
    assert (there.stop_reason, there.stop_sequence) == ("max_tokens", None)
    usage = there.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == here.usage.prompt_tokens
    assert usage.output_tokens == 24
    with client.messages.stream(**more) as stream:
        assert "".join(stream.text_stream) == here.text
        last = stream.get_final_message()
    assert (said(last), last.stop_reason, last.usage.output_tokens) == (here.text, "max_tokens", 24)


def test_the_events_come_in_order(server: Serving) -> None:
    """A46"""
    text = server.post("/v1/messages", messages=SAID, max_tokens=3, stream=True).text
    events = [part.split("\n") for part in text.split("\n\n") if part]
    kinds = [name.removeprefix("event: ") for name, _ in events]
    assert [json.loads(data.removeprefix("data: "))["type"] for _, data in events] == kinds
    deltas = kinds.count("content_block_delta")
    assert kinds == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    (last,) = [told["delta"] for _, data in events if (told := json.loads(data[6:]))["type"] == "message_delta"]
    assert (last["stop_reason"], last["stop_sequence"]) == ("max_tokens", None)


def test_a_stop_sequence_is_named(client: Any, server: Serving, engine: Engine) -> None:
    """A46"""
    whole = engine.chat(SAID, SamplingParams(max_tokens=24, temperature=0)).text
    stop = whole[9:11]
    told = client.messages.create(**asked(server, stop_sequences=["never", stop]))
    assert (said(told), told.stop_reason, told.stop_sequence) == (whole[: whole.index(stop)], "stop_sequence", stop)
    with client.messages.stream(**asked(server, stop_sequences=[stop])) as stream:
        last = stream.get_final_message()
    assert (said(last), last.stop_reason, last.stop_sequence) == (said(told), "stop_sequence", stop)


def test_an_answer_that_fills_the_context_says_so(client: Any, server: Serving) -> None:
    told = client.messages.create(**asked(server, {"min_p": 0.0}, max_tokens=100_000), timeout=60)
    assert told.stop_reason in ("end_turn", "model_context_window_exceeded")
    assert told.usage.output_tokens <= 512


def test_blocks_thoughts_and_caches_are_read(client: Any, server: Serving) -> None:
    cached = {"type": "ephemeral"}
    blocks: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": cached}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "text", "text": "Ho"},
            ],
        },
        *SAID,
    ]
    plain: list[Any] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, *SAID]
    system = [{"type": "text", "text": "Be", "cache_control": cached}]
    ignored: dict[str, Any] = {"metadata": {"user_id": "me"}, "service_tier": "auto", "thinking": {"type": "adaptive"}}
    told = client.messages.create(**asked(server, messages=blocks, system=system, **ignored))
    assert said(told) == said(client.messages.create(**asked(server, messages=plain, system="Be")))


def test_tokens_are_counted_whatever_the_context(client: Any, server: Serving) -> None:
    told = client.messages.create(**asked(server))
    counted = client.messages.count_tokens(model=server.model, messages=SAID)
    assert counted.input_tokens == told.usage.input_tokens + (told.usage.cache_read_input_tokens or 0)
    long = client.messages.count_tokens(model=server.model, messages=[{"role": "user", "content": "word " * 500}])
    assert long.input_tokens > 2500


def test_the_asynchronous_client_gets_the_same(client: Any, server: Serving) -> None:
    async def talk() -> set[str]:
        async with AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as one:
            several = await asyncio.gather(*(one.messages.create(**asked(server)) for _ in range(4)))
            async with one.messages.stream(**asked(server)) as stream:
                parts = [text async for text in stream.text_stream]
        return {*map(said, several), "".join(parts)}

    assert asyncio.run(talk()) == {said(client.messages.create(**asked(server)))}


REFUSED: list[tuple[str, Any]] = [
    ("max_tokens", 0),
    ("max_tokens", "many"),
    ("messages", []),
    ("messages", [*SAID, {"role": "assistant", "content": "The answer is"}]),
    ("messages", [{"role": "tool", "content": "x"}]),
    ("messages", [{"role": "user", "content": [{"type": "image", "source": {}}]}]),
    ("messages", [{"role": "user", "content": [{"type": "text"}]}]),
    ("messages", [{"role": "user", "content": [{"type": "tool_result", "content": "a"}]}]),
    ("system", [{"type": "image"}]),
    ("temperature", -1),
    ("top_p", 2),
    ("top_k", 1.5),
    ("stop_sequences", "a"),
    ("stop_sequences", [""]),
    ("stream", "yes"),
    ("thinking", {"type": "sometimes"}),
    ("output_config", {"format": {"type": "json_schema"}}),
    ("tools", [{"name": "x", "input_schema": {}}]),
    ("tool_choice", {"type": "any"}),
    ("container", "x"),
    ("keep_alive", "soon"),
    ("no_such_field", 1),
]


def test_what_cannot_be_is_refused_by_name(server: Serving) -> None:
    """SV-11"""
    passed: list[Any] = []
    for field, value in REFUSED:
        answer = server.post("/v1/messages", **{"messages": SAID, "max_tokens": 1, field: value})
        told = answer.json()
        kind = told.get("error", {}).get("type")
        if (answer.status_code, told["type"], kind) != (400, "error", "invalid_request_error"):
            passed.append((field, value, answer.status_code, told))
        elif field not in told["error"]["message"] or told["request_id"] != answer.headers["request-id"]:
            passed.append((field, value, told))
    assert passed == []


def test_the_client_raises_what_it_raises_for_anthropic(client: Any, server: Serving) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**asked(server, model="nobody/nothing"))
    assert missing.value.request_id is not None
    with pytest.raises(anthropic.BadRequestError, match="512"):
        client.messages.create(**asked(server, messages=[{"role": "user", "content": "word " * 500}]))
    required = server.post("/v1/messages", messages=SAID)
    assert required.json()["error"]["message"] == "max_tokens is missing"


def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    """SV-21"""
    body = MessagesBody(model="some", messages=[Message("user", "x")], max_tokens=4)
    scribe = MessageScribe(body, "1")
    list(scribe.write(Piece(prompt_tokens=[1])))
    (last,) = scribe.broke(Fault("unavailable", "the engine has ended"))
    name, data = last.decode().strip().split("\n")
    assert name == "event: error"
    error = {"type": "overloaded_error", "message": "the engine has ended"}
    assert json.loads(data.removeprefix("data: ")) == {"type": "error", "error": error, "request_id": "req_1"}

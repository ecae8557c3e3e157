"""/api/generate and /api/chat say what the engine says, in Ollama's words, to Ollama's own client."""

import asyncio
import math
from typing import Any

import httpx
import ollama
import pytest
import torch

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.support.serving import Serving

GREEDY = {"temperature": 0, "seed": 123, "num_predict": 12}
SAID = [{"role": "user", "content": "Why is the sky blue?"}]


def expected(engine: Engine, **changes: Any) -> Completion:
    answer = engine.chat(SAID, SamplingParams(temperature=0, max_tokens=12, **changes))
    assert isinstance(answer, Completion)
    return answer


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_chat_says_what_the_engine_says(client: Any, server: Serving, engine: Engine, stream: bool) -> None:  # A3
    wanted = expected(engine)
    answered = client.chat(model=server.model, messages=SAID, stream=stream, options=GREEDY)
    chunks = list(answered) if stream else [answered]
    assert "".join(one.message.content or "" for one in chunks) == wanted.text
    assert {one.model for one in chunks} == {server.model}
    assert all(one.created_at for one in chunks)
    _check_end(chunks[-1], wanted)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_generate_says_what_the_engine_says(
    client: Any, server: Serving, engine: Engine, stream: bool
) -> None:  # A1, A2
    wanted = expected(engine)
    answered = client.generate(model=server.model, prompt=SAID[0]["content"], stream=stream, options=GREEDY)
    chunks = list(answered) if stream else [answered]
    assert "".join(one.response or "" for one in chunks) == wanted.text
    _check_end(chunks[-1], wanted)
    assert chunks[-1].context
    assert list(chunks[-1].context[-len(wanted.token_ids) :]) == list(wanted.token_ids)


def _check_end(last: Any, wanted: Completion) -> None:
    assert last.done is True
    assert last.done_reason == wanted.finish_reason
    assert last.prompt_eval_count == wanted.usage.prompt_tokens
    assert last.eval_count == len(wanted.token_ids)
    durations = (last.total_duration, last.load_duration, last.prompt_eval_duration, last.eval_duration)
    assert all(isinstance(one, int) and one > 0 for one in durations)


def test_the_asynchronous_client_gets_the_same(server: Serving, engine: Engine) -> None:
    async def ask() -> str:
        async with ollama.AsyncClient(server.url) as client:
            parts = await client.chat(model=server.model, messages=SAID, stream=True, options=GREEDY)
            return "".join([part.message.content or "" async for part in parts])

    assert asyncio.run(ask()) == expected(engine).text


def test_raw_text_goes_to_the_model_as_it_is(client: ollama.Client, server: Serving, engine: Engine) -> None:
    wanted = engine.generate("Once upon", SamplingParams(temperature=0, max_tokens=12))
    assert isinstance(wanted, Completion)
    answered = client.generate(model=server.model, prompt="Once upon", raw=True, options=GREEDY)
    assert (answered.response, answered.context) == (wanted.text, None)


def test_an_answer_goes_on_from_the_context_of_the_one_before(
    client: ollama.Client, server: Serving, engine: Engine
) -> None:  # A15
    first = client.generate(model=server.model, prompt="One", options=GREEDY)
    second = client.generate(model=server.model, prompt="Two", context=first.context, options=GREEDY)
    turn = engine.tokenizer.encode("<|user|>Two</s><|assistant|>", special=True, bos=False)  # type: ignore[union-attr]
    wanted = engine.generate([*(first.context or ()), *turn], SamplingParams(temperature=0, max_tokens=12))
    assert isinstance(wanted, Completion)
    assert second.response == wanted.text
    assert second.prompt_eval_count == wanted.usage.prompt_tokens


def test_generate_and_chat_read_the_same_prompt(server: Serving) -> None:  # A31
    one = server.post("/api/generate", prompt="Hi", system="Be brief", _debug_render_only=True).json()
    said = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    two = server.post("/api/chat", messages=said, _debug_render_only=True).json()
    assert one["_debug_info"] == two["_debug_info"]
    assert one["_debug_info"]["rendered_template"] == "<s><|system|>Be brief</s><|user|>Hi</s><|assistant|>"


def test_scores_come_only_when_asked_for(server: Serving, engine: Engine) -> None:  # A7, A8
    asked = {"messages": SAID, "options": GREEDY, "stream": False}
    assert "logprobs" not in server.post("/api/chat", **asked).json()
    assert "top_logprobs" not in server.post("/api/chat", **asked, logprobs=True).json()["logprobs"][0]
    wanted = expected(engine, logprobs=3).logprobs
    got = server.post("/api/chat", **asked, logprobs=True, top_logprobs=3).json()["logprobs"]
    assert wanted is not None
    for one, ours in zip(got, wanted, strict=True):
        assert one["logprob"] == pytest.approx(ours.logprob, abs=1e-5)
        assert bytes(one["bytes"]) == ours.data
        top = [other["logprob"] for other in one["top_logprobs"]]
        assert len(top) == 3
        assert top == sorted(top, reverse=True)


def test_there_is_a_score_for_every_token_of_a_stream(client: ollama.Client, server: Serving) -> None:  # A9
    options = {**GREEDY, "num_predict": 10}
    chunks = client.generate(model=server.model, prompt="Tell", stream=True, logprobs=True, options=options)
    assert sum(len(chunk.logprobs or ()) for chunk in chunks) == 10


def test_characters_of_many_bytes_come_whole(
    client: ollama.Client, server: Serving, engine: Engine
) -> None:  # A10, A11
    said = [{"role": "user", "content": "天空为什么是蓝色的? 😀"}]
    options = {"temperature": 1.5, "seed": 4, "num_predict": 60, "top_k": 0, "top_p": 1}
    whole = client.chat(model=server.model, messages=said, options=options).message.content
    parts = client.chat(model=server.model, messages=said, options=options, stream=True)
    wanted = engine.chat(said, SamplingParams(temperature=1.5, seed=4, max_tokens=60, top_k=0, top_p=1))
    assert isinstance(wanted, Completion)
    assert "".join(part.message.content or "" for part in parts) == whole == wanted.text


def test_a_prompt_that_is_too_long_loses_its_oldest_messages_and_says_so(server: Serving) -> None:  # A13
    said = [
        {"role": "user", "content": "x" * 300},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "z"},
    ]
    body = {"messages": said, "stream": False, "options": {**GREEDY, "num_ctx": 128}}
    answer = server.post("/api/chat", **body).json()
    assert answer["prompt_eval_count"] < 128
    assert answer["truncated"] > 300
    refused = server.post("/api/chat", **body, truncate=False)
    assert refused.status_code == 400
    assert "context" in refused.json()["error"]
    assert "128" in refused.json()["error"]


def test_an_answer_without_a_limit_ends_where_the_context_does(server: Serving) -> None:  # A14
    options = {"temperature": 1, "seed": 3, "num_ctx": 64, "num_predict": -1, "stop": []}
    answer = server.post("/api/generate", prompt="Go", raw=True, stream=False, options=options).json()
    assert answer["prompt_eval_count"] + answer["eval_count"] <= 64
    assert answer["done_reason"] in ("length", "stop")


def test_conversations_at_once_do_not_mix(server: Serving, engine: Engine) -> None:  # A17, A18
    said = [[{"role": "user", "content": f"Topic {number}"}] for number in range(6)]
    wanted = [engine.chat(one, SamplingParams(temperature=0, max_tokens=12)) for one in said]

    async def ask() -> list[Any]:
        async with ollama.AsyncClient(server.url) as client:
            asked = [client.chat(model=server.model, messages=one, options=GREEDY) for one in said]
            return await asyncio.gather(*asked)

    assert [one.message.content for one in asyncio.run(ask())] == [one.text for one in wanted]


def test_embeddings_are_the_engines(client: ollama.Client, server: Serving, engine: Engine) -> None:  # A21, A24
    texts = ["why is the sky blue?", "sky"]
    wanted = [torch.tensor(one) for one in engine.embed(texts)]
    got = client.embed(model=server.model, input=texts)
    for vector, ours in zip(got.embeddings, wanted, strict=True):
        assert math.sqrt(sum(value * value for value in vector)) == pytest.approx(1)
        torch.testing.assert_close(torch.tensor(vector), ours / ours.norm(), rtol=1e-4, atol=1e-5)
    counts = [client.embed(model=server.model, input=text).prompt_eval_count or 0 for text in texts]
    assert got.prompt_eval_count == sum(counts)
    legacy = client.embeddings(model=server.model, prompt=texts[0]).embedding
    torch.testing.assert_close(torch.tensor(legacy), wanted[0], rtol=1e-4, atol=1e-5)


def test_embeddings_of_long_texts_are_of_their_beginning_or_refused(server: Serving) -> None:  # A23, A25
    cut = server.post("/api/embed", input="why is", options={"num_ctx": 3}).json()["embeddings"]
    assert cut == server.post("/api/embed", input="why").json()["embeddings"]
    assert server.post("/api/embed", input="x" * 800).status_code == 200
    for given in ("x" * 800, ["x", "x" * 800]):
        refused = server.post("/api/embed", input=given, truncate=False)
        assert (refused.status_code, "input length exceeds the context length" in refused.text) == (400, True)
    assert server.post("/api/embed").json()["embeddings"] == []


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [  # A38
    ("/api/generate", {"model": "nix", "prompt": "x"}, 404, "model 'nix' not found"),
    ("/api/generate", {"model": "", "prompt": "x"}, 404, "model '' not found"),
    ("/api/chat", {"model": "nix", "messages": SAID}, 404, "model 'nix' not found"),
    ("/api/chat", {"model": ""}, 400, "model is required"),
    ("/api/embed", {"model": "nix", "input": "x"}, 404, "model 'nix' not found"),
    ("/api/show", {"model": "nix"}, 404, "model 'nix' not found"),
    ("/api/generate", {"prompt": "x", "think": True}, 400, '"{}" does not support thinking'),
    ("/api/generate", {"prompt": "x", "suffix": "y"}, 400, '"{}" does not support insert'),
    ("/api/generate", {"prompt": "x", "images": ["aGk="]}, 400, '"{}" does not support images'),
    ("/api/chat", {"messages": SAID, "tools": [{"function": {"name": "f"}}]}, 400, '"{}" does not support tools'),
    (
        "/api/chat",
        {"messages": SAID, "format": "yaml"},
        400,
        'invalid format: "yaml"; expected "json" or a valid JSON Schema object',
    ),
    ("/api/generate", {"prompt": "x", "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
    (
        "/api/generate",
        {"prompt": "x", "raw": True, "system": "y"},
        400,
        "raw mode does not support template, system, or context",
    ),
    (
        "/api/generate",
        {"prompt": "x", "template": "{{ .Odd }}"},
        400,
        "template is written for Ollama in a way that is not known here",
    ),
    (
        "/api/generate",
        {"prompt": "x", "keep_alive": "soon"},
        400,
        "keep_alive is 'soon'; it must be a number of seconds, or a span such as 5m",
    ),
    ("/api/generate", {"prompt": "x", "options": {"top_p": 2}}, 400, "options.top_p is 2; it must be between 0 and 1"),
    ("/api/generate", {"prompt": "x", "hello": 1}, 400, "hello is not supported"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_what_cannot_be_is_refused_in_ollamas_words(
    server: Serving, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = server.post(path, **body)
    assert (answer.status_code, answer.json()) == (status, {"error": message.format(server.model)})


def test_a_request_without_a_body_is_told_so(server: Serving) -> None:
    answer = httpx.post(f"{server.url}/api/generate")
    assert (answer.status_code, answer.json()) == (400, {"error": "missing request body"})

"""What OpenAI's endpoints refuse, and how: a status, the field's name, a code that clients know."""

from typing import Any

import httpx
import openai
import pytest

from unillm.tests.support.serving import Serving

SAID = [{"role": "user", "content": "Hi"}]
CHAT, TEXT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"
USUAL: dict[str, dict[str, Any]] = {
    CHAT: {"messages": SAID, "max_tokens": 1},
    TEXT: {"prompt": "Hi", "max_tokens": 1},
    RESPONSES: {"input": "Hi", "max_output_tokens": 1},
    EMBEDDINGS: {"input": "Hi"},
}

# Fields of all endpoints that make text, then of each: a value that cannot be.
EVERYWHERE: list[tuple[str, Any]] = [
    ("temperature", -1),
    ("temperature", "warm"),
    ("temperature", True),
    ("top_p", 1.5),
    ("top_k", -2),
    ("min_p", 2),
    ("typical_p", -0.1),
    ("repetition_penalty", 0),
    ("presence_penalty", 3),
    ("frequency_penalty", -3),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"-1": 1}),
    ("seed", 1.5),
    ("seed", 2**64),
    ("stop", ""),
    ("stop", ["a", 3]),
    ("stop", ["a"] * 65),
    ("stop_token_ids", [-1]),
    ("ignore_eos", "yes"),
    ("schema", {"type": "nothing"}),
    ("schema", "nothing"),
    ("regex", "("),
    ("choice", []),
    ("grammar", "start: nothing"),
    ("priority", "high"),
    ("keep_alive", "soon"),
    ("stream", "yes"),
    ("model", ""),
    ("model", 3),
    ("stream_options", {"include": True}),
    ("no_such_field", 1),
    ("n_discard", -1),
]
OWN: dict[str, list[tuple[str, Any]]] = {
    CHAT: [
        ("messages", []),
        ("messages", "Hi"),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]),
        ("messages", [{"role": "assistant", "tool_calls": [{}]}]),
        ("max_tokens", -1),
        ("max_completion_tokens", 2),  # beside max_tokens, which says something else
        ("n", 0),
        ("n", 129),
        ("logprobs", 5),
        ("top_logprobs", 21),
        ("top_logprobs", 2),  # without logprobs
        ("reasoning_effort", "enormous"),
        ("reasoning_effort", "low"),  # this model does not think
        ("seed", 2**63),
        ("chat_template_kwargs", {"messages": []}),
        ("chat_template_kwargs", {"tokenize": True}),
        ("chat_template_kwargs", {"tools": []}),
        ("chat_template_kwargs", {"chat_template": "x"}),
        ("chat_template_kwargs", {"big": 2**70}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}),
        ("functions", [{}]),
        ("audio", {}),
        ("modalities", ["audio"]),
        ("verbosity", "low"),
        ("web_search_options", {}),
    ],
    TEXT: [
        ("prompt", None),
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", ["a", 1]),
        ("prompt", [-1]),
        ("prompt", [1.5]),
        ("prompt", [10**6]),
        ("n", 0),
        ("best_of", 0),
        ("best_of", 129),
        ("logprobs", 21),
        ("logprobs", True),
        ("echo", 1),
        ("suffix", " there"),  # this model knows no holes
        ("tools", []),
    ],
    RESPONSES: [
        ("input", []),
        ("input", 3),
        ("input", [{"type": "function_call_output", "output": "b"}]),
        ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ("max_output_tokens", -1),
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("prompt", {"id": "x"}),
        ("truncation", "sometimes"),
        ("include", ["file_search_call.results"]),
        ("text", {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nothing"}}}),
        ("reasoning", {"summary": "auto"}),
        ("reasoning", {"effort": "high"}),
        ("max_tool_calls", 1),
        ("tools", [{"type": "web_search"}]),
        ("n", 2),
    ],
    EMBEDDINGS: [
        ("input", ""),
        ("input", []),
        ("input", ["a", 1]),
        ("input", ["a"] * 2049),
        ("encoding_format", "hex"),
        ("dimensions", 0),
        ("dimensions", 10**6),
        ("no_such_field", 1),
    ],
}
CASES = [(path, *case) for path in (CHAT, TEXT, RESPONSES) for case in EVERYWHERE]
CASES += [(path, *case) for path, cases in OWN.items() for case in cases]


def test_what_cannot_be_is_refused_by_name(server: Serving) -> None:
    """SV-11"""
    passed = []
    for path, field, value in CASES:
        answer = server.post(path, **{**USUAL[path], field: value})
        error = answer.json().get("error") or {}
        named = (error.get("param") or "").startswith(field) or field == "max_completion_tokens"
        if answer.status_code != 400 or not named or error["type"] != "invalid_request_error":
            passed.append((path, field, value, answer.status_code, answer.text[:200]))
    assert passed == []


def test_nothing_is_refused_for_being_null(server: Serving) -> None:
    for path, fields in OWN.items():
        names = {name for name, _ in [*fields, *EVERYWHERE]} - USUAL[path].keys()
        names -= {"model", "no_such_field", "n_discard"}
        if path == EMBEDDINGS:
            names &= {"encoding_format", "dimensions"}
        if path != CHAT:
            names -= {"tools", "n"}
        if path == RESPONSES:
            names |= {"tools"}
        answer = server.post(path, **USUAL[path], **dict.fromkeys(names))
        assert answer.status_code == 200, (path, answer.text)


def test_best_of_must_not_be_less_than_n_nor_streamed(server: Serving) -> None:
    """SV-11"""
    for more in ({"n": 3, "best_of": 2}, {"best_of": 2, "stream": True}):
        answer = server.post(TEXT, prompt="Hi", **more)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "best_of")


@pytest.mark.parametrize(("path", "field"), [(CHAT, "messages"), (TEXT, "prompt"), (RESPONSES, "input")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_too_long_is_refused_with_the_numbers(server: Serving, path: str, field: str, stream: bool) -> None:
    text = "long " * 200
    said: Any = [{"role": "user", "content": text}] if path == CHAT else text
    answer = server.post(path, **{field: said}, stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", field)
    assert "512" in error["message"]


def test_the_client_raises_what_it_raises_for_openai(server: Serving) -> None:
    """A45"""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        client: Any = made
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nobody/nothing", messages=SAID)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        assert missing.value.request_id is not None
        assert missing.value.request_id.startswith("req_")
        with pytest.raises(openai.BadRequestError) as wrong:
            client.chat.completions.create(model=server.model, messages=SAID, temperature=-1)
        assert wrong.value.param == "temperature"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nothing")


def test_a_missing_or_broken_body_is_refused(server: Serving) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": "' + b"a" * 100):
        assert httpx.post(server.url + CHAT, content=body).status_code == 400
    missing = httpx.post(server.url + CHAT, json={"model": server.model}).json()["error"]
    assert (missing["param"], missing["message"]) == ("messages", "messages is missing")

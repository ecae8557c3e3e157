"""What a client hears over the network of an answer that breaks off: an error as its last words, and nothing after."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.runtime.hosting.asking import Fault
from unillm.tests.support.scripted_host import Listening, listening
from unillm.tests.support.tiny_models import gguf_file

SAID: list[Any] = [{"role": "user", "content": "Hi"}]
GONE = Fault("unavailable", "the engine has ended", "ask again")
STREAMS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID, "stream_options": {"include_usage": True}},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 9},
    "/api/chat": {"messages": SAID},
    "/api/generate": {"prompt": "Hi"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A model of a few bytes is installed, for it must be one that is there."""
    folder = tmp_path_factory.mktemp("home")
    settings = RegistrySettings.from_environment({"UNILLM_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")})
    (folder / "some.gguf").write_bytes(gguf_file(folder))
    pull(str(folder / "some.gguf"), settings, name="some")
    with listening(settings) as place:
        yield place


def heard(place: Listening, path: str) -> tuple[list[str], str]:
    """The events of a stream, and all that came on its connection until the server hung up."""
    body = json.dumps({"model": "some", "stream": True, **STREAMS[path]})
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", place.port), timeout=30) as line:
        line.sendall((head + body).encode())
        while part := line.recv(65536):
            answer += part
    text = answer.decode()
    events = [line.strip().removeprefix("data: ") for line in text.splitlines() if line.startswith(("data: ", "{"))]
    return events, text


@pytest.mark.parametrize("path", STREAMS)
def test_the_last_event_of_a_stream_that_breaks_is_the_error(place: Listening, path: str) -> None:
    """SV-21: no end is told that was none, and the connection closes."""
    place.host.says("Once ", "upon ", fault=GONE)
    events, text = heard(place, path)
    told = [json.loads(event) for event in events]
    assert any("upon" in event for event in events[:-1])
    error = told[-1].get("error", told[-1])
    assert "the engine has ended" in (error if isinstance(error, str) else error["message"])
    assert not any(
        "the engine has ended" in json.dumps(one) for one in told[:-1] if one.get("type") != "response.failed"
    )
    for end in ("[DONE]", "message_stop", "response.completed", '"done":true', '"finish_reason":"', '"stop_reason":"'):
        assert end not in text
    assert text.endswith("\r\n0\r\n\r\n")


def test_a_stream_that_ends_well_has_its_end(place: Listening) -> None:
    """Which is what the one above must not find."""
    ends = {"/v1/chat/completions": "[DONE]", "/v1/messages": "message_stop", "/api/chat": '"done":true'}
    for path, end in ends.items():
        place.host.says("Once ", "upon ")
        assert end in heard(place, path)[0][-1]


def test_the_clients_raise_what_broke_and_are_answered_the_next_time(place: Listening) -> None:
    """SV-21"""
    one: Any
    with openai.OpenAI(base_url=f"{place.url}/v1", api_key="none", max_retries=0) as one:
        place.host.says("Once ", fault=GONE)
        with pytest.raises(openai.APIError, match="the engine has ended"):
            list(one.chat.completions.create(model="some", messages=SAID, stream=True))
    with anthropic.Anthropic(base_url=place.url, api_key="none", max_retries=0) as other:
        place.host.says("Once ", fault=GONE)
        with pytest.raises(anthropic.APIStatusError, match="the engine has ended"):
            list(other.messages.create(model="some", messages=SAID, max_tokens=9, stream=True))
    with ollama.Client(place.url) as third:
        place.host.says("Once ", fault=GONE)
        with pytest.raises(ollama.ResponseError, match="the engine has ended"):
            list(third.chat("some", SAID, stream=True))
        assert third.chat("some", SAID).message.content == "You said: Hi"
    assert httpx.get(f"{place.url}/health").status_code == 200

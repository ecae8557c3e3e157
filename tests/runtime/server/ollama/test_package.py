"""The habits of Ollama's own package that nothing else here asks for: what it sends, and what it makes of answers."""

import asyncio
import base64
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import httpx
import ollama
import pytest
from pydantic import BaseModel, ConfigDict

from unillm.tests.support.serving import Serving, free_port

GREEDY = {"temperature": 0, "num_predict": 120}
SAID = [{"role": "user", "content": "Where is it?"}]


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")  # or a model that means nothing goes on for ever

    city: Literal["Oslo", "Rome"]
    days: Literal[1, 2]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_is_of_the_class_that_was_asked_for(server: Serving, client: Any, stream: bool) -> None:
    """A47"""
    form = Place.model_json_schema()
    chatted = client.chat(server.model, SAID, format=form, options=GREEDY, stream=stream)
    generated = client.generate(server.model, "Where?", format=form, options=GREEDY, stream=stream)
    text = "".join(part.message.content or "" for part in (chatted if stream else [chatted]))
    other = "".join(part.response for part in (generated if stream else [generated]))
    assert Place.model_validate_json(text).city in ("Oslo", "Rome")
    assert Place.model_validate_json(other).days in (1, 2)


def test_an_image_is_refused_in_every_form_that_it_is_sent_in(client: ollama.Client, tmp_path: Path) -> None:
    """A47"""
    data = b"\x89PNG\r\n\x1a\n" + bytes(32)
    (tmp_path / "image.png").write_bytes(data)
    forms: list[Any] = [tmp_path / "image.png", str(tmp_path / "image.png"), data, base64.b64encode(data).decode()]
    for image in forms:
        with pytest.raises(ollama.ResponseError, match="does not support images") as caught:
            client.generate("talking", "What is it?", images=[image])
        assert caught.value.status_code == 400
        with pytest.raises(ollama.ResponseError, match="does not support images"):
            client.chat("talking", [ollama.Message(role="user", content="x", images=[ollama.Image(value=image)])])


def test_a_file_is_sent_once_and_known_afterwards(server: Serving, tmp_path: Path) -> None:
    """A47"""
    path, statuses = tmp_path / "file", list[int]()
    path.write_bytes(b"of ollama's package")
    digest = f"sha256:{sha256(path.read_bytes()).hexdigest()}"

    def note(answer: httpx.Response) -> None:
        statuses.append(answer.status_code)

    async def later(answer: httpx.Response) -> None:
        note(answer)

    async def again() -> str:
        async with ollama.AsyncClient(server.url, event_hooks={"response": [later]}) as client:
            sent: str = await client.create_blob(path)
            return sent

    with ollama.Client(server.url, event_hooks={"response": [note]}) as client:
        assert client.create_blob(path) == digest
    assert asyncio.run(again()) == digest
    assert statuses == [201, 200]


def test_whatever_headers_it_is_told_to_send_it_is_answered(server: Serving) -> None:
    """A47"""
    headers = {"Authorization": "Bearer somebody", "X-Custom": "value", "Cookie": "a=b"}
    with ollama.Client(server.url, headers=headers) as client:
        assert client.chat(server.model, SAID, options={"num_predict": 1}).done
        assert "ollama-python" in client._client.headers["user-agent"]


def test_where_nobody_listens_it_says_so() -> None:
    """A47"""
    address = f"http://127.0.0.1:{free_port()}"

    async def ask() -> None:
        async with ollama.AsyncClient(address) as client:
            await client.chat("talking", SAID)

    with ollama.Client(address) as client, pytest.raises(ConnectionError, match="Failed to connect to Ollama"):
        client.chat("talking", SAID)
    with pytest.raises(ConnectionError, match="Failed to connect to Ollama"):
        asyncio.run(ask())

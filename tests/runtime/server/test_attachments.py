"""What requests carry or point to beside text: it is refused, never opened, and nothing is fetched for it."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from unillm.registry.settings import RegistrySettings
from unillm.tests.support.fake_hub import FakeHub
from unillm.tests.support.local_server import serving_in_a_thread
from unillm.tests.support.scripted_host import listening
from unillm.tests.support.serving import Serving

INSIDE = "127.0.0.3"  # an address of this machine that nothing else listens at
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")


@dataclass
class Trap:
    """A server at `host` that nobody may ask; `asked` are the requests that came all the same."""

    host: str
    asked: list[str]


@contextmanager
def trap(address: str, to: str = "") -> Iterator[Trap]:
    """It sends whoever asks on to `to`."""
    asked = list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", to)
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Nowhere."""

    server = ThreadingHTTPServer((address, 0), Handler)
    with serving_in_a_thread(server):
        yield Trap(f"{address}:{server.server_port}", asked)


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def inside() -> Iterator[Trap]:
    with trap(INSIDE) as there:
        yield there


@pytest.fixture(scope="module")
def leading_there(inside: Trap) -> Iterator[Trap]:
    with trap("127.0.0.1", f"http://{inside.host}/secret") as there:
        yield there


def with_image(url: str) -> list[tuple[str, dict[str, Any]]]:
    """Every way in which a request can point to an image."""
    part = {"type": "image_url", "image_url": {"url": url}}
    item = {"type": "input_image", "image_url": url}
    block = {"type": "image", "source": {"type": "url", "url": url}}
    document = {"type": "document", "source": {"type": "url", "url": url}}
    return [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [item]}]}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [block]}], "max_tokens": 1}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [document]}], "max_tokens": 1}),
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": [url]}]}),
        ("/api/generate", {"prompt": "x", "images": [url]}),
    ]


def refused(answer: httpx.Response) -> None:
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert not re.search(r"0x[0-9a-f]{6}|Traceback|root:|\.py\b", answer.text)


def test_an_image_that_lies_elsewhere_is_not_fetched(client: httpx.Client, inside: Trap, leading_there: Trap) -> None:
    """SV-15"""
    urls = [
        "file:///etc/passwd",
        f"http://{inside.host}/image.png",
        f"http://{leading_there.host}\\@{inside.host}/image.png",
        f"http://{leading_there.host}@{inside.host}/image.png",
        f"http://{leading_there.host}/image.png",
    ]
    for url in urls:
        for path, body in with_image(url):
            refused(client.post(path, json={"model": "talking", **body}))
    assert inside.asked == leading_there.asked == []


def test_a_model_is_not_fetched_from_an_address_in_its_name(
    tmp_path_factory: pytest.TempPathFactory, inside: Trap, leading_there: Trap
) -> None:
    """SV-15: of a server that may reach the network, and whose hub is there."""
    home = tmp_path_factory.mktemp("home")
    settings = RegistrySettings.from_environment({"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf")})
    with ExitStack() as stack:
        hub = stack.enter_context(FakeHub().running())
        place = stack.enter_context(listening(replace(settings, endpoint=hub.endpoint, ollama_registry=hub.endpoint)))
        for host in (inside.host, leading_there.host, f"{leading_there.host}\\@{inside.host}"):
            for name in (f"{host}/a/b", f"http://{host}/a/b", f"hf.co@{host}/a/b", f"hf.co/../{host}/a/b"):
                for path, body in (("pull", {"model": name}), ("create", {"model": "made", "from": name})):
                    refused(httpx.post(f"{place.url}/api/{path}", json={**body, "stream": False}, timeout=30))
        assert hub.asked == []
        httpx.post(f"{place.url}/api/pull", json={"model": "hf.co/a/b", "stream": False}, timeout=30)
        assert hub.asked  # which is where a name may lead
    assert inside.asked == leading_there.asked == []


BROKEN = {
    "no base64": "data:image/png;base64,!!!!",
    "half of it": "data:image/png;base64," + base64.b64encode(PNG).decode()[:-7],
    "no image": "data:image/png;base64," + base64.b64encode(b"GIF89a" + bytes(40)).decode(),
    "cut": "data:image/png;base64," + base64.b64encode(PNG[:40]).decode(),
    "one point": "data:image/png;base64," + base64.b64encode(PNG).decode(),
    "nothing": "data:,",
    "frames": "data:video/jpeg;base64," + ",".join(["AAAA"] * 50_000),
    "megabytes": "data:image/png;base64," + "A" * (1 << 20),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_image_is_refused_whatever_is_wrong_with_it(client: httpx.Client, what: str) -> None:
    """SV-16"""
    url = BROKEN[what]
    data = url.partition(",")[2]
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    asked = [
        *with_image(url),
        ("/v1/messages", {"messages": [{"role": "user", "content": [block]}], "max_tokens": 1}),
        ("/api/generate", {"prompt": "x", "images": [data or "="]}),
    ]
    for path, body in asked:
        refused(client.post(path, json={"model": "talking", **body}))
    assert client.get("/health").status_code == 200


SOUND = {"type": "input_audio", "input_audio": {"data": "!!!!", "format": "wav"}}
TENSOR = base64.b64encode(b"PK\x03\x04" + bytes(60)).decode()
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [SOUND]}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "prompt_embeds": TENSOR}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "audio": {"format": "wav"}}),
    ("/v1/completions", {"prompt": "x", "prompt_embeds": TENSOR}),
    ("/v1/completions", {"prompt_embeds": [TENSOR]}),
    ("/v1/completions", {"prompt": "x", "image_data": [{"data": "!!!!", "id": 1}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "!!!!"}]}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [SOUND]}]}),
    ("/v1/embeddings", {"input": [{"image": "!!!!"}]}),
    ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": [1]}]}),
    ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": "!!!!"}]}),
    ("/api/generate", {"prompt": "x", "images": {"a": 1}}),
    ("/api/embed", {"input": "x", "images": ["!!!!"]}),
    ("/tokenize", {"text": "x", "images": ["!!!!"]}),
]


@pytest.mark.parametrize(("path", "body"), OTHERS, ids=[json.dumps(row)[:70] for row in OTHERS])
def test_sounds_files_and_tensors_are_refused(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """SV-16"""
    refused(client.post(path, json={"model": "talking", **body}))

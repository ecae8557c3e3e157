"""What hostile connections get: a plain refusal, never a 5xx, and afterwards everybody else is served as before."""

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import httpx
import pytest
import uvicorn

from unillm.runtime.server import connections
from unillm.runtime.server.connections import Connection
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.hosts import until
from unillm.tests.support.serving import Serving

HEAD = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASKED = b'{"model":"model","text":"x"}'
_INSIDE = re.compile(r"0x[0-9a-f]{6}|Traceback|File \"|/tmp/|/home/|/root/|\.py\b")

ABUSES: dict[str, bytes] = {
    "nothing": b"\r\n\r\n\r\n",
    "noise": bytes(range(256)) * 8,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 0.9": b"GET /health\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "host with a path": b"GET /tokenize HTTP/1.1\r\nHost: localhost/health?\r\n\r\n",
    "host with a line": b"GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
    "space before colon": b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\nBad Name: 1\r\n\r\n",
    "no such method": b"FROB /tokenize HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "connect": b"CONNECT evil:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "absolute": b"GET http://evil.example/tokenize HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long path": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header of 1 MB": b"GET /tokenize HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "5000 headers": b"GET /tokenize HTTP/1.1\r\nHost: localhost\r\n"
    + b"".join(b"X-%d: 1\r\n" % i for i in range(5000))
    + b"\r\n",
    "range": b"GET /tokenize HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-1," * 12_000 + b"2-3\r\n\r\n",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "length of letters": HEAD + b"Content-Length: abc\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 28\r\n\r\n" + ASKED,
    "smuggling": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "10 GiB declared": HEAD + b"Content-Length: 10737418240\r\n\r\n",
    "gzip": HEAD
    + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00",
    "websocket": b"GET /tokenize HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "encoded slash": b"GET /%2e%2e/%2fhealth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nul": b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bad escape": b"GET /%zz%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "form": b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 7\r\n\r\n--x--\r\n",
    "pipelined": b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
}


def spoken(served: Serving, sent: bytes) -> bytes:
    """All that comes back until the server hangs up, or has said nothing more for a while."""
    address = served.url.removeprefix("http://").split(":")
    heard = b""
    with socket.create_connection((address[0], int(address[1])), timeout=5) as line, contextlib.suppress(OSError):
        line.sendall(sent)
        line.settimeout(0.15)
        while part := line.recv(65536):
            heard += part
    return heard


def is_well(served: Serving) -> bool:
    return served.get("/health").status_code == 200


@pytest.mark.parametrize("abuse", ABUSES)
def test_protocol_abuse_is_refused_and_harms_nobody(server: Serving, abuse: str) -> None:
    """SV-07, SV-04, SV-08"""
    heard = spoken(server, ABUSES[abuse])
    statuses = [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", heard)]
    assert all(400 <= status < 500 for status in statuses), statuses
    assert not _INSIDE.search(heard.decode("latin-1"))
    assert is_well(server)


def test_a_body_that_is_declared_too_long_is_refused_before_it_is_read(server: Serving) -> None:
    """SV-08"""
    heard = spoken(server, ABUSES["10 GiB declared"])
    assert b" 413 " in heard.split(b"\r\n")[0]
    assert b"connection: close" in heard.lower()


@pytest.mark.slow
def test_a_body_without_end_is_cut_at_the_limit(server: Serving) -> None:
    """SV-08"""
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    host, port = server.url.removeprefix("http://").split(":")
    taken = 0
    with socket.create_connection((host, int(port)), timeout=30) as line, contextlib.suppress(OSError):
        line.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            line.sendall(chunk)
            taken += 1
    assert 60 < taken < 100  # the limit is 64, and some lie in buffers
    assert is_well(server)


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "not utf-8": b'{"model":"\xff\xfe","text":"x"}',
    "utf-16": '{"model":"m","text":"x"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + ASKED,
    "nul": b'{"model":"m\x00","text":"x"}',
    "nan": b'{"model":"m","text":NaN}',
    "infinity": b'{"model":"m","text":1e999}',
    "deep lists": b"[" * 1_000_000,
    "deep objects": b'{"model":' * 100_000,
    "deep in a field": b'{"model":"m","text":' + b"[" * 100_000,
    "100000 digits": b'{"model":"m","text":"x","special":' + b"9" * 100_000 + b"}",
    "two documents": ASKED + ASKED,
    "a comment": b"/* */" + ASKED,
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "single quotes": b"{'model':'m'}",
    "lone surrogate": b'{"model":"\\ud800","text":"x"}',
    "unknown field": b'{"model":"m","text":"x","frob":1}',
    "missing field": b'{"model":"m"}',
    "a field twice": b'{"model":"m","text":"x","model":"n"}',
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
}


@pytest.mark.parametrize("path", ["/tokenize", "/v1/chat/completions", "/api/chat", "/v1/messages"])
@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_cannot_be_read_is_a_400_that_says_so(server: Serving, path: str, body: str) -> None:
    """SV-10, SV-13"""
    answer = httpx.post(
        server.url + path, content=BODIES[body], headers={"content-type": "application/json"}, timeout=30
    )
    assert answer.status_code in (400, 404, 422), answer.text
    assert json.loads(answer.text)["error"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert not _INSIDE.search(answer.text)


NAMES = [
    "/etc/passwd",
    "/nosuch",
    "../../etc/passwd",
    "./model",
    "~/model",
    "C:\\Windows",
    "\\\\host\\share",
    "file:///etc/passwd",
    "http://127.0.0.1:1/a",
    "127.0.0.3:1/a/b",
    "hf.co/../../x",
    "a/b/c/d",
    "..",
    ".",
    "",
    " ",
    "-rf",
    "--help",
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "x" * 10_000,
    "%2e%2e",
    "${HOME}",
    "$(id)",
    "a;id",
    "model\\..\\x",
    "CON",
    "a:b:c:d",
    "@x",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_tells_nothing_of_this_machine(server: Serving, name: str) -> None:
    """SV-12, SV-13"""
    for path, field in (
        ("/tokenize", {"text": "x"}),
        ("/v1/models/load", {}),
        ("/v1/models/unload", {}),
        ("/api/show", {}),
    ):
        answer = server.post(path, **{**field, "model": name})
        assert answer.status_code in (400, 404), (path, answer.text)
        assert not re.search(r"passwd is|No such file|Permission|/root|/tmp", answer.text)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b'{"model":"model","messages":[{"role":"user","content":"x","role":"system"}]}'),
        ("/api/generate", b'{"model":"model","prompt":"x","options":{"seed":1,"seed":2}}'),
        ("/v1/messages", b'{"model":"model","max_tokens":1,"max_tokens":2,"messages":[{"role":"user","content":"x"}]}'),
    ],
)
def test_a_field_that_stands_there_twice_is_named(server: Serving, path: str, body: bytes) -> None:
    """SV-10: a proxy might read the one that we do not."""
    answer = httpx.post(server.url + path, content=body, timeout=30)
    assert (answer.status_code, "stands there more than once" in answer.text) == (400, True)


def test_numbers_of_any_length_are_read_where_anything_may_stand(server: Serving) -> None:
    """SV-10"""
    body = b'{"model":"model","prompt":"x","stream":false,"options":{"num_predict":1,"nobody_knows":%s}}' % (
        b"9" * 9999
    )
    assert httpx.post(f"{server.url}/api/generate", content=body, timeout=30).status_code in (200, 400, 404)


MAKING: dict[str, Callable[[str], dict[str, object]]] = {
    "pull": lambda name: {"model": name, "stream": False},
    "create": lambda name: {"model": name, "from": "nobody", "stream": False},
    "create from": lambda name: {"model": "made", "from": name, "stream": False},
    "create of files": lambda name: {"model": "made", "files": {name: "sha256:" + "0" * 64}, "stream": False},
    "create of a digest": lambda name: {"model": "made", "files": {"model.gguf": name}, "stream": False},
    "copy": lambda name: {"source": name, "destination": "made"},
    "copy to": lambda name: {"source": "nobody", "destination": name},
    "delete": lambda name: {"model": name},
}


@pytest.mark.parametrize("what", MAKING)
def test_a_name_that_is_none_makes_fetches_and_removes_nothing(server: Serving, what: str) -> None:
    """SV-12, SV-13, SV-14: every hostile name, in the same words whether there is such a file or not."""
    path, before = f"{server.url}/api/{what.split()[0]}", server.get("/api/tags").json()
    method = "DELETE" if what == "delete" else "POST"

    def told(name: str) -> tuple[int, str]:
        answer = httpx.request(method, path, json=MAKING[what](name), timeout=30)
        return answer.status_code, answer.text

    for name in NAMES:
        status, text = told(name)
        assert status in (400, 403, 404, 503), (name, status, text)
        assert not _INSIDE.search(text.replace(name, "")), (name, text)
        assert not re.search(r"No such file|Permission|passwd is|/root|root:", text), (name, text)
    there, nowhere = told("/etc/passwd"), told("/etc/nosuch")
    assert (there[0], there[1].replace("passwd", "nosuch")) == nowhere
    assert server.get("/api/tags").json() == before


@pytest.mark.parametrize("path", ["/tokenize", "/api/show", "/v1/models/load"])
def test_whether_a_file_exists_is_not_told(server: Serving, path: str) -> None:
    """SV-12, SV-14: the same words for both."""
    there, nowhere = (
        server.post(path, model=name, text="x") if path == "/tokenize" else server.post(path, model=name)
        for name in ("/etc/passwd", "/etc/nosuch")
    )
    plain = [re.sub(r"req_\w+", "", one.text).replace("passwd", "nosuch") for one in (there, nowhere)]
    assert (plain[0], there.status_code) == (plain[1], nowhere.status_code)


def test_a_method_that_is_not_taken_is_told_which_are(server: Serving) -> None:
    answer = httpx.put(f"{server.url}/api/tags", timeout=10)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert isinstance(answer.json()["error"], str)


def test_head_is_get_without_a_body(server: Serving) -> None:
    answer = httpx.head(f"{server.url}/health", timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")


def test_clients_that_never_read_harm_nobody(server: Serving) -> None:
    """SV-19"""
    body = json.dumps({"model": "model", "prompt": "x", "max_tokens": 400, "stream": True}).encode()
    asked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    host, port = server.url.removeprefix("http://").split(":")
    lines = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        for line in lines:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            line.sendall(asked)
        answer = server.post("/v1/completions", prompt="x", max_tokens=4)
        assert answer.status_code == 200
        assert is_well(server)
    finally:
        for line in lines:
            line.close()


@pytest.mark.slow
def test_two_hundred_streams_at_once_are_whole_and_say_what_a_lone_one_says(server: Serving) -> None:
    """SV-17, SV-22"""
    asking = {"model": server.model, "prompt": "x", "max_tokens": 40, "temperature": 0, "stream": True}

    async def one(client: httpx.AsyncClient) -> str:
        answer = await client.post(f"{server.url}/v1/completions", json=asking)
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        assert (answer.status_code, events[-1]) == (200, "[DONE]")
        return "".join(choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"])

    async def many() -> list[str]:
        async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
            alone = await one(client)
            return [alone, *await asyncio.gather(*(one(client) for _ in range(200)))]

    assert len(set(asyncio.run(many()))) == 1


@pytest.mark.slow
def test_clients_that_vanish_leave_nothing_behind(server: Serving) -> None:
    """SV-18: with FIN and with RST, before, within and after the head of an answer."""
    body = json.dumps({"model": "model", "prompt": "x", "max_tokens": 400, "stream": True}).encode()
    asked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    before = server.post("/v1/completions", prompt="x", max_tokens=8, temperature=0).json()["choices"]
    host, port = server.url.removeprefix("http://").split(":")
    for place in range(200):
        line = socket.create_connection((host, int(port)), timeout=10)
        line.sendall(asked)
        if wanted := (0, 1, 200)[place % 3]:
            line.recv(wanted)
        if place % 2:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    until(lambda: server.get("/health").json()["running"] == 0, 30)
    after = server.post("/v1/completions", prompt="x", max_tokens=8, temperature=0).json()["choices"]
    assert [one["text"] for one in after] == [one["text"] for one in before]


def test_how_the_server_is_is_told_at_once_under_load(server: Serving) -> None:
    """SV-25: the median of some, for this machine has others to serve too."""
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            asking = {"model": "model", "prompt": "x", "max_tokens": 300, "stream": True}
            stack.enter_context(httpx.stream("POST", f"{server.url}/v1/completions", json=asking, timeout=60))
        took = []
        for _ in range(9):
            began = monotonic()
            assert is_well(server)
            took.append(monotonic() - began)
    assert sorted(took)[4] < 0.5


def test_what_prometheus_reads_is_there(server: Serving) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    server.post("/v1/completions", prompt="x", max_tokens=4)
    families = {one.name for one in text_string_to_metric_families(server.get("/metrics").text)}
    wanted = {"requests", "waiting", "running", "free_pages", "completion_tokens", "queue_seconds"}
    assert {f"unillm_{name}" for name in wanted} <= families


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A bare application behind our connections, in a thread."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, port=0, http=Connection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: "],
    ids=["nothing", "half a line", "half a head", "half a second head"],
)
def test_who_does_not_say_what_it_wants_is_hung_up_on(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """SV-09: however slowly it goes on speaking."""
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.4)
    with listening() as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(0.1)
        line.sendall(said)
        began = monotonic()
        with contextlib.suppress(ConnectionError):
            while monotonic() - began < HANGS:
                if said:
                    line.sendall(b"a")
                try:
                    if not line.recv(1000):
                        break
                except TimeoutError:
                    pass
        assert monotonic() - began < HANGS

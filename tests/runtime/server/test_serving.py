"""`unillm serve` as a process: how it starts, what it says when it cannot, and how it ends."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import httpx
import psutil
import pytest

from unillm.runtime import logs
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.hosts import until
from unillm.tests.support.talking import talking_model
from unillm.tests.unillm_cli.doors import Ran, run


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        until(lambda: "listening on " in self.said, 60)
        return self.said.split("listening on ")[1].split()[0]

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_ready(self) -> None:
        until(lambda: "is ready" in self.said, 120)

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_model(tmp_path_factory.mktemp("models") / "talker", context=65536)


@pytest.fixture
def start(tmp_path: Path) -> Iterator["Starter"]:
    starter = Starter(tmp_path)
    yield starter
    starter.end()


class Starter:
    """Starts servers whose temporary files are in `temporary`."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self._folder = folder
        self._started: list[Server] = []

    def __call__(self, *flags: str, before: str = "") -> Server:
        """`before` are commands for the shell that starts it."""
        log = self._folder / f"{len(self._started)}.log"
        settled = {"UNILLM_HOME": str(self._folder), "UNILLM_OFFLINE": "1", "TMPDIR": str(self.temporary)}
        words = [sys.executable, "-m", "unillm.unillm_cli", "serve", "--port", "0", *flags]
        command = ["sh", "-c", f'{before}; exec "$@"', "sh", *words] if before else words
        with log.open("wb") as told:
            process = subprocess.Popen(
                command, stdout=told, stderr=told, env={**os.environ, **settled}, start_new_session=True
            )
        self._started.append(Server(process, log))
        return self._started[-1]

    def end(self) -> None:
        for server in self._started:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()


def code_of(server: Server, within: float = 60) -> int:
    code = server.process.wait(within)
    assert "Traceback" not in server.said
    return code


ENDLESS = {"model": "talker", "prompt": "x", "max_tokens": 60_000, "ignore_eos": True, "stream": True, "temperature": 0}
SHORT = {**ENDLESS, "max_tokens": 400}


def test_a_server_that_is_told_to_end_lets_answers_end_and_leaves_nothing(start: Starter, model: Path) -> None:
    """SV-23, SV-25: four streams end whole, what is new is refused, health says why; then nobody is left."""
    server = start("--model", str(model))
    url = server.url
    loading = httpx.get(f"{url}/health", timeout=30)
    server.wait_until_ready()
    assert (loading.status_code, loading.json()["state"]) in [(503, "loading"), (200, "ready")]
    children = server.children()
    with httpx.Client(timeout=60) as client:
        streams = [
            client.send(client.build_request("POST", f"{url}/v1/completions", json=SHORT), stream=True)
            for _ in range(4)
        ]
        server.process.send_signal(signal.SIGTERM)
        until(lambda: _state(url) in ("draining", "gone"), 10)
        texts = [response.read().decode() for response in streams]
    assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    assert len({json.dumps(_spoken(text)) for text in texts}) == 1
    assert code_of(server) == 0
    assert not any(child.is_running() for child in children)
    assert not list(start.temporary.iterdir())


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(start: Starter, model: Path) -> None:
    """SV-23"""
    server = start("--model", str(model))
    server.wait_until_ready()
    children = server.children()
    with httpx.stream("POST", f"{server.url}/v1/completions", json=ENDLESS, timeout=60) as answer:
        next(answer.iter_bytes())
        server.process.send_signal(signal.SIGINT)
        until(lambda: _state(server.url) == "draining", 10)
        began = monotonic()
        server.process.send_signal(signal.SIGINT)
        assert code_of(server) == 0
        assert monotonic() - began < HANGS
    assert not any(child.is_running() for child in children)
    assert not list(start.temporary.iterdir())


def test_nothing_is_left_of_a_server_that_is_killed(start: Starter, model: Path) -> None:
    """Neither processes nor sockets."""
    server = start("--model", str(model))
    server.wait_until_ready()
    children = server.children()
    assert len(children) == 2
    server.process.kill()
    server.process.wait()
    until(lambda: not any(child.is_running() for child in children), 10)
    until(lambda: not list(start.temporary.iterdir()), 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("after", [0.3, 1.0, 2.0])
def test_a_signal_ends_a_server_that_still_begins(start: Starter, model: Path, kind: int, after: float) -> None:
    server = start("--model", str(model))
    until(lambda: "listening" in server.said, 60)
    sleep(after)
    server.process.send_signal(kind)
    assert code_of(server) == 0
    assert not list(start.temporary.iterdir())


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """`unillm serve` in this process, for what ends before anything begins."""
    monkeypatch.setattr(logs, "log_to_stderr", lambda *_: None)  # it would take away pytest's own handlers
    return lambda *flags: run("serve", "--offline", *flags, environ={"UNILLM_HOME": str(tmp_path)})


def test_a_port_that_is_taken_is_told(refused: Callable[..., Ran]) -> None:
    """SV-26"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, said = refused("--port", str(taken.getsockname()[1]))
    assert code == 7
    assert "cannot listen on 127.0.0.1" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--host", "no.such.host.invalid"), 7, "cannot listen on no.such.host.invalid"),
        (("--host", "192.0.2.1"), 7, "cannot listen on 192.0.2.1"),
        (("--model", "./nowhere"), 3, "nowhere"),
        (("--model", "no-such-model"), 3, "no-such-model"),
        (("--api-key", "a b"), 2, "API key"),
        (("--api-key-file", "/nosuch"), 3, "/nosuch"),
        (("--tls-cert", "x.pem"), 2, "--tls-key"),
        (("--tls-cert", "x.pem", "--tls-key", "y.pem"), 2, "x.pem"),
        (("--keep-alive", "soon"), 2, "keep_alive"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    refused: Callable[..., Ran], flags: tuple[str, ...], code: int, said: str
) -> None:
    """SV-26"""
    ran = refused("--port", "0", *flags)
    assert (ran.code, said in ran.err) == (code, True), ran.err


@pytest.mark.slow
def test_a_model_that_is_broken_ends_the_start_and_is_named(start: Starter, tmp_path: Path) -> None:
    folder = talking_model(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    server = start("--model", str(folder))
    assert code_of(server) == 1
    assert "broken" in server.said
    assert not list(start.temporary.iterdir())


@pytest.mark.slow
def test_who_listens_to_everybody_without_a_key_is_warned(start: Starter) -> None:
    """SV-06"""
    server = start("--host", "0.0.0.0")
    until(lambda: "listening" in server.said, 60)
    assert "warning: anybody who reaches 0.0.0.0" in server.said


@pytest.mark.slow
def test_it_listens_on_this_machine_alone_unless_told(start: Starter) -> None:
    """SV-06, SC-05"""
    server = start()
    assert server.url.startswith("http://127.0.0.1:")
    until(lambda: len(server.children()) == 1)
    processes = [psutil.Process(server.process.pid), *server.children()]
    listening = [one.laddr for process in processes for one in process.net_connections() if one.status == "LISTEN"]
    assert [address.ip for address in listening] == ["127.0.0.1"]


@pytest.mark.slow
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_an_address_of_the_new_kind(start: Starter) -> None:
    """SV-26"""
    server = start("--host", "::1")
    if server.process.poll() is None and "cannot listen" not in server.said:
        assert server.url.startswith("http://[::1]:")
        until(lambda: _state(server.url) == "ready")


@pytest.mark.slow
def test_it_listens_on_a_socket_file(start: Starter, tmp_path: Path) -> None:
    """SV-26"""
    path = tmp_path / "s"
    server = start("--host", f"unix:{path}")
    assert server.url == f"unix:{path}"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://localhost/health").status_code in (200, 503)
    assert path.stat().st_mode & 0o777 == 0o600
    server.process.terminate()
    assert code_of(server) == 0
    assert not path.exists()


@pytest.mark.slow
def test_few_files_are_a_bound_on_connections_not_an_end(start: Starter) -> None:
    """SV-26: with 256 of them."""
    server = start(before="ulimit -n 256")
    host, port = server.url.removeprefix("http://").split(":")
    until(lambda: _state(server.url) == "ready")
    lines = list[socket.socket]()
    try:
        for _ in range(300):
            lines.append(socket.create_connection((host, int(port)), timeout=5))
        before = psutil.Process(server.process.pid).cpu_times().user
        sleep(1)
        assert psutil.Process(server.process.pid).cpu_times().user - before < 0.7
    finally:
        for line in lines:
            line.close()
    until(lambda: _state(server.url) == "ready", 30)


@pytest.mark.slow
def test_it_speaks_tls(start: Starter, tmp_path: Path) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*words, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    server = start("--tls-cert", str(cert), "--tls-key", str(key))
    trusted = ssl.create_default_context(cafile=str(cert))
    trusted.check_hostname = False
    assert server.url.startswith("https://")
    assert httpx.get(f"{server.url}/health", verify=trusted, timeout=30).status_code in (200, 503)


@pytest.mark.slow
def test_neither_prompts_nor_keys_stand_in_the_log(start: Starter, model: Path) -> None:
    """SV-29"""
    server = start("--model", str(model), "--api-key", "k3y-of-mine")
    server.wait_until_ready()
    assert httpx.get(f"{server.url}/health", timeout=30).json()["models"] == []
    for text in ("my secret question", "\x1b[2J\r\nfake line", "\u202e"):
        headers = {"Authorization": "Bearer k3y-of-mine", "User-Agent": "x\x1b[31m"}
        httpx.post(f"{server.url}/v1/completions", json={**SHORT, "prompt": text}, headers=headers, timeout=60)
        httpx.get(f"{server.url}/%1b%0a{text[:2].encode().hex()}", headers=headers, timeout=60)
    assert "secret" not in server.said
    assert "k3y" not in server.said
    assert all(line.isprintable() for line in server.said.split("\n"))


@pytest.mark.slow
def test_two_servers_share_one_store(start: Starter, model: Path) -> None:
    """SV-27"""
    both = [start("--model", str(model)) for _ in range(2)]
    for server in both:
        server.wait_until_ready()
    told = [
        httpx.post(f"{server.url}/v1/completions", json={**SHORT, "stream": False}, timeout=60).json()
        for server in both
    ]
    assert told[0]["choices"][0]["text"] == told[1]["choices"][0]["text"]


def _state(url: str) -> str:
    try:
        state: str = httpx.get(f"{url}/health", timeout=10).json()["state"]
    except httpx.TransportError:
        return "gone"
    return state


def _spoken(text: str) -> str:
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    return "".join(choice["text"] for event in events for choice in json.loads(event)["choices"])

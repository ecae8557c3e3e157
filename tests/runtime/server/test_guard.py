"""Who is let in: keys, hosts and origins, on the raw request alone. The guard is asked itself, without a server."""

import ast
import asyncio
import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from unillm.runtime.hosting.asking import HostError
from unillm.runtime.hosting.line import Line
from unillm.runtime.server import guard
from unillm.runtime.server.app import dialect_at, new_id, refusal
from unillm.runtime.server.endpoint import Endpoint
from unillm.runtime.server.guard import Guard, Rules
from unillm.runtime.server.own import OWN
from unillm.runtime.server.table import ENDPOINTS

Headers = Sequence[tuple[str, str]]
LOCAL = ("host", "localhost:8080")
KEYED = Rules(("right",), frozenset({"/health"}))
PATHS = sorted({(one.method, one.path) for one in ENDPOINTS if not one.open_to_all})


def ask(
    rules: Rules, path: str = "/tokenize", method: str = "POST", headers: Headers = (LOCAL,)
) -> tuple[int, dict[str, str], bool]:
    """The status, the headers, and whether the application behind the guard was reached."""
    sent, reached = list[Any](), list[str]()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": raw}
    guarding = Guard(app, rules, lambda path, *why: refusal(dialect_at(ENDPOINTS, path), *why), new_id)
    asyncio.run(guarding(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, bool(reached)


@pytest.mark.parametrize(("method", "path"), [*PATHS, ("GET", "/no/such/path")])
@pytest.mark.parametrize(
    "credentials",
    [(), (("authorization", "Bearer wrong"),), (("authorization", "Basic right"),), (("x-api-key", "righ"),)],
)
def test_with_a_key_set_nothing_answers_without_it(method: str, path: str, credentials: Headers) -> None:
    """SV-01: every route there is, and those that are none."""
    status, headers, reached = ask(KEYED, path, method, (LOCAL, *credentials))
    assert (status, headers["www-authenticate"], reached) == (401, "Bearer", False)


@pytest.mark.parametrize(
    "credentials", [("authorization", "Bearer right"), ("authorization", "bearer right"), ("x-api-key", "right")]
)
def test_who_brings_the_key_is_let_in(credentials: tuple[str, str]) -> None:
    """SV-01"""
    assert ask(KEYED, headers=(LOCAL, credentials))[2]


def test_health_answers_without_a_key() -> None:
    """SV-01"""
    assert ask(KEYED, "/health", "GET")[2]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "8.8.8.8",
        "[2001:4860:4860::8888]",
        "localhost@evil.example",
        "evil.example#localhost",
        "",
    ],
)
def test_a_server_of_this_machine_answers_to_no_foreign_name(host: str) -> None:
    """SV-02: a page that made its own name mean this machine is none of ours."""
    status, _, reached = ask(Rules(), headers=(("host", host),))
    assert (status in (400, 403), reached) == (True, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "box.local"])
def test_a_server_of_this_machine_answers_to_local_names(host: str) -> None:
    """SV-02"""
    assert ask(Rules(), headers=(("host", host),))[2]


def test_keys_are_compared_in_constant_time() -> None:
    """SV-03: by the code, for no clock of a test machine would show it."""
    tree = ast.parse(inspect.getsource(Guard._has_key).strip().replace("    def", "def", 1))
    calls = [
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert "compare_digest" in calls
    assert "key" not in {name.id for node in compared for name in ast.walk(node) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("host", ["x/health?", "a/?x=", "localhost/health#", "localhost\\@x", "localhost, x"])
def test_a_host_that_holds_a_path_opens_nothing(host: str) -> None:
    """SV-04"""
    status, _, reached = ask(KEYED, headers=(("host", host),))
    assert (status, reached) == (400, False)


@pytest.mark.parametrize(
    "path", ["/HEALTH", "//health", "/health/", "/health/..", "/health;x", "/health/../tokenize", "/./health"]
)
def test_a_path_that_only_looks_open_needs_the_key(path: str) -> None:
    """SV-04"""
    assert ask(KEYED, path)[0] == 401


def test_two_hosts_are_none() -> None:
    """SV-04"""
    assert ask(Rules(), headers=(LOCAL, ("host", "localhost")))[0] == 400


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://evil.example:8080",
        "https://8.8.8.8",
        "x",
    ],
)
def test_a_foreign_page_gets_nothing_and_does_nothing(origin: str, method: str) -> None:
    """SV-05: text/plain and DELETE need no leave from us before a browser sends them."""
    status, headers, reached = ask(
        Rules(), method=method, headers=(LOCAL, ("origin", origin), ("content-type", "text/plain"))
    )
    assert (status, reached) == (403, False)
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "app://obsidian.md", "http://[::1]:1"]
)
def test_a_page_of_this_machine_may_call(origin: str) -> None:
    """SV-05"""
    _, headers, reached = ask(Rules(), headers=(LOCAL, ("origin", origin)))
    assert (reached, headers["access-control-allow-origin"]) == (True, origin)


def test_a_page_that_was_named_may_call() -> None:
    rules = Rules(origins=("https://chat.example",))
    status, headers, reached = ask(rules, method="OPTIONS", headers=(LOCAL, ("origin", "https://chat.example")))
    assert (status, reached) == (204, False)
    assert "POST" in headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/nothing", {"error": dict}),
        ("/api/nothing", {"error": str}),
        ("/v1/messages/x", {"type": str, "error": dict}),
    ],
)
def test_what_is_nowhere_is_told_in_the_words_of_whoever_seems_to_ask(path: str, expected: dict[str, type]) -> None:
    from unillm.runtime.hosting.asking import Fault

    told = dialect_at(ENDPOINTS, path).error(Fault("not_found", "no"), 404, "req_1")
    assert all(isinstance(told[name], kind) for name, kind in expected.items())
    assert dialect_at(ENDPOINTS, "/nothing") is OWN


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_a_refusal_before_the_routes_is_in_the_words_of_the_endpoint(endpoint: Endpoint) -> None:
    assert dialect_at(ENDPOINTS, endpoint.path) is endpoint.dialect


def test_who_finds_no_place_is_told_when_to_come_back_and_how_many_stand_there() -> None:
    """SV-20"""
    full = Line(running=1, most=4)
    with ExitStack() as stack:
        places = [stack.enter_context(full.place("m")) for _ in range(5)]
        with pytest.raises(HostError) as caught:
            stack.enter_context(full.place("m"))
    assert places == [0, 0, 1, 2, 3]
    answer = refusal(OWN, caught.value.fault, 503, "req_1")
    assert (answer.headers["retry-after"], answer.headers["x-queue-position"]) == ("5", "4")
    assert full.asked("m") == 0


def test_each_request_is_a_line_in_the_log_whatever_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    """SV-29: neither keys nor questions stand in it."""
    import logging

    from unillm.runtime.logs import OneLine

    with caplog.at_level(logging.INFO, guard.__name__):
        ask(KEYED, "/tokenize\r\nFAKE \x1b[31m", headers=(LOCAL, ("authorization", "Bearer secret")))
    (record,) = caplog.records
    line = OneLine("serve").format(record)
    assert line.isprintable()
    assert "secret" not in line


def test_an_exception_is_one_line_in_the_log() -> None:
    """SV-29"""
    import logging
    import sys

    from unillm.runtime.logs import OneLine

    try:
        raise ValueError("a\nb\x1b[2J\u202e" + "x" * 10_000)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed\n%s", ("y\r",), sys.exc_info())
    line = OneLine("serve").format(record)
    assert line.isprintable()
    assert len(line) < 3000
    assert "test_guard.py" in line


def test_every_body_that_is_accepted_is_described() -> None:
    """/openapi.json is made of the types that are decoded into: what is forbidden there is refused here."""
    from unillm.runtime.server.openapi import description

    told = description(ENDPOINTS, "1")
    for endpoint in ENDPOINTS:
        if endpoint.body is None:
            continue
        operation = told["paths"][endpoint.path.replace(":path}", "}")][endpoint.method.lower()]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = told["components"]["schemas"][reference.rpartition("/")[2]]
        accepted = {field.encode_name for field in msgspec.structs.fields(endpoint.body)}
        assert set(schema["properties"]) == accepted
        assert schema["additionalProperties"] is False

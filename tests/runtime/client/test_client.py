"""Our client of a running server gives what an engine in this process would."""

import asyncio
import socket
from collections.abc import Iterator
from time import monotonic

import pytest

from unillm import AsyncClient, Client
from unillm.runtime.client import wire
from unillm.runtime.client.wire import Reading
from unillm.runtime.engine import Engine
from unillm.runtime.errors import InvalidParameter, ServerRefused, ServerUnreachable
from unillm.runtime.hosting.asking import Fault, Piece
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion, Timings, Usage
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.serving import Serving

SAID = [{"role": "user", "content": "Why?"}]
GREEDY = SamplingParams(temperature=0, max_tokens=8)


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def expected(engine: Engine, params: SamplingParams = GREEDY) -> Completion:
    answer = engine.chat(SAID, params)
    assert isinstance(answer, Completion)
    return answer


def test_an_answer_is_the_engines(client: Client, server: Serving, engine: Engine) -> None:
    wanted = expected(engine)
    for got in (client.chat(SAID, GREEDY, model=server.model), client.generate("Why?", GREEDY, model=server.model)):
        assert (got.text, got.token_ids, got.finish_reason) == (wanted.text, wanted.token_ids, wanted.finish_reason)
        assert got.usage.completion_tokens == wanted.usage.completion_tokens
        assert got.timings.total > 0


def test_a_stream_adds_up_to_the_answer(client: Client, server: Serving) -> None:
    updates = list(client.stream(SAID, GREEDY, model=server.model))
    last = updates[-1].completion
    assert last is not None
    assert "".join(one.text for one in updates) == last.text
    assert [token for one in updates for token in one.token_ids] == list(last.token_ids)


def test_several_answers_come_apart(client: Client, server: Serving) -> None:
    got = client.generate("Why?", SamplingParams(temperature=1, seed=1, n=3, max_tokens=5), model=server.model)
    assert len({got.token_ids, *(one.token_ids for one in got.alternatives)}) == 3


def test_scores_come_with_their_bytes(client: Client, server: Serving, engine: Engine) -> None:
    params = SamplingParams(temperature=0, max_tokens=4, logprobs=2)
    got, wanted = client.chat(SAID, params, model=server.model).logprobs, expected(engine, params).logprobs
    assert got is not None
    assert wanted is not None
    assert [(one.token_id, one.data, len(one.top)) for one in got] == [(one.token_id, one.data, 2) for one in wanted]


def test_the_asynchronous_client_gives_the_same(server: Serving, engine: Engine) -> None:
    async def ask() -> tuple[str, str, int]:
        async with AsyncClient(server.url) as client:
            whole = await client.chat(SAID, GREEDY, model=server.model)
            parts = [one.text async for one in client.stream(SAID, GREEDY, model=server.model)]
            return whole.text, "".join(parts), len(await client.ps())

    text = expected(engine).text
    assert asyncio.run(ask()) == (text, text, 1)


def test_a_model_is_pinned_and_let_go_again(client: Client, server: Serving) -> None:
    name = client.load(server.model).name
    client.pin(server.model)
    assert [one.pinned for one in client.ps() if one.name == name] == [True]
    client.pin(server.model, pinned=False)
    assert [one.pinned for one in client.ps() if one.name == name] == [False]
    assert name in {one.name for one in client.models()}


def test_what_a_server_refuses_is_an_error_with_its_kind(client: Client, server: Serving) -> None:
    for ask in (
        lambda: client.generate("x", model="nix"),
        lambda: client.load("nix"),
        lambda: list(client.pull("nix")),
    ):
        with pytest.raises(ServerRefused) as caught:
            ask()
        assert caught.value.kind == "not_found"
    with pytest.raises(ServerRefused) as long:
        client.generate("x" * 900, model=server.model)
    assert long.value.kind == "too_long"


def test_where_no_server_is_that_is_the_error_and_comes_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        began, port = monotonic(), taken.getsockname()[1]
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(ServerUnreachable, match=str(port)):
            client.about()
        assert monotonic() - began < HANGS


def test_another_program_is_no_server_of_ours(client: Client) -> None:
    assert wire.read_about(b'{"version": "0.12"}') is None
    assert wire.read_about(b"<html>") is None
    assert client.about().program == "unillm"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("box", "http://box:8080"),
        ("box:99", "http://box:99"),
        ("https://box", "https://box:443"),
        ("http://[::1]:5/", "http://[::1]:5"),
        (None, "http://there:1"),
    ],
)
def test_a_host_is_an_address(host: str | None, url: str) -> None:
    assert wire.base_url(host, {"UNILLM_HOST": "there:1"}) == url


@pytest.mark.parametrize("host", ["ftp://box", "box:port", "http://box/path", "box:99999"])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidParameter):
        wire.base_url(host, {})


def test_an_answer_that_breaks_off_says_why() -> None:
    reading = Reading("")
    reading.take(Piece(prompt_tokens=[1], load_seconds=2.0))
    reading.take(Piece(text="ab", token_ids=[1, 2]))
    fault = Fault("unavailable", "the engine has ended")
    with pytest.raises(ServerRefused, match="the engine has ended"):
        reading.take(Piece(finish_reason="error", fault=fault))
    failed = Piece(finish_reason="error", fault=fault, usage=Usage(1, 2, 0), timings=Timings(0, 0, 1, 0, 0))
    update = reading.take(failed)
    assert update is not None
    assert update.completion is not None
    assert (update.completion.text, str(update.completion.error)) == ("ab", "the engine has ended")
    with pytest.raises(ServerRefused, match="broke off"):
        Reading("").completion()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, b'{"error": {"message": "a key", "type": "invalid_request_error"}}', "forbidden", "a key"),
        (400, b'{"error": {"message": "long", "type": "too_long"}}', "too_long", "long"),
        (404, b'{"error": "model \'x\' not found"}', "not_found", "model 'x' not found"),
        (502, b"<html>", "unreachable", "the server answered with status 502"),
    ],
)
def test_a_refusal_has_its_kind_and_its_words(status: int, body: bytes, kind: str, message: str) -> None:
    error = wire.refusal(status, body)
    assert (error.kind, str(error), error.status) == (kind, message, status)

"""A server with a shelf of its own, in a folder whose name is not of ASCII, two text processes, a short line, and a
registry to pull from: models come over HTTP and answer.
"""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import ollama
import psutil
import pytest

from unillm.runtime.bench.synthetic import synthetic_model
from unillm.runtime.server.ollama.wording import BUSY
from unillm.tests.support.fake_ollama_registry import FakeOllamaRegistry
from unillm.tests.support.hosts import until
from unillm.tests.support.serving import Serving, serving
from unillm.tests.support.talking import talking_model

GREEDY = {"temperature": 0, "num_predict": 20}
LINE = ("--max-running", "2", "--max-queue", "16")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return synthetic_model(
        "qwen3-tiny", "q8_0", tmp_path_factory.mktemp("gguf"), lambda *_: None, words=True
    ).read_bytes()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, gguf: bytes) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("mödelle 模型 🦙")  # A12
    with FakeOllamaRegistry().running() as registry:
        registry.model(
            "library/tiny:latest", ("model", gguf), ("template", "{{ .Prompt }}"), ("params", {"num_ctx": 128})
        )
        environ = {"UNILLM_OFFLINE": "0", "UNILLM_OLLAMA_REGISTRY": registry.endpoint}
        model = talking_model(folder / "gesprächig")
        with serving(model, folder / "zuhause", (*("--tokenizer-workers", "2"), *LINE), environ) as served:
            yield served


@pytest.fixture(scope="module")
def client(own: Serving) -> Iterator[ollama.Client]:
    with ollama.Client(own.url) as client:
        yield client


@pytest.fixture(scope="module")
def pulled(client: ollama.Client) -> tuple[str, list[ollama.ProgressResponse]]:
    name = "ollama.com/library/tiny:latest"
    return name, list(client.pull(name, stream=True))


def test_a_model_is_pulled_over_http_and_answers(
    own: Serving, client: ollama.Client, pulled: tuple[str, list[ollama.ProgressResponse]], gguf: bytes
) -> None:
    name, told = pulled
    assert told[0].status == "pulling manifest"
    assert told[-1].status == "success"
    digest = f"sha256:{sha256(gguf).hexdigest()}"
    parts = [one for one in told if one.digest == digest]
    assert {one.total for one in parts} == {len(gguf)}
    assert parts[-1].completed == len(gguf)
    assert name.removeprefix("ollama.com/library/") in str([one.model for one in client.list().models])
    answer = client.generate(model=name, prompt=" abc def", options=GREEDY)
    assert (answer.eval_count, answer.done_reason) == (20, "length")
    again = httpx.post(f"{own.url}/api/pull", json={"model": name, "stream": False}, timeout=60)
    assert (again.status_code, again.json()) == (200, {"status": "success"})


def test_the_context_of_a_request_counts_before_that_of_the_recipe(
    client: ollama.Client, pulled: tuple[str, list[ollama.ProgressResponse]]
) -> None:
    """A42: what a request says, else what the model's recipe says, else what the model was made for."""
    name, _ = pulled

    def loaded() -> dict[str, int | None]:
        return {one.model or "": one.context_length for one in client.ps().models}

    client.generate(model=name, prompt=" abc", options=GREEDY)
    assert 128 in loaded().values()
    client.generate(model=name, prompt=" abc", options={**GREEDY, "num_ctx": 256})
    assert 256 in loaded().values()
    assert loaded()["gesprächig"] == 512


def test_a_model_is_made_of_one_gguf_that_was_sent(own: Serving, client: ollama.Client, gguf: bytes) -> None:
    """A32"""
    digest = client.create_blob(_written(own, gguf))
    client.create("sent", files={"model.gguf": digest})
    shown = client.show("sent")
    assert shown.details is not None
    assert (shown.details.format, shown.details.family, shown.details.quantization_level) == ("gguf", "qwen3", "Q8_0")
    answer = client.generate(model="sent", prompt=" abc def", options=GREEDY, raw=True, keep_alive=0)
    assert answer.eval_count == 20
    assert len((answer.response or "").encode()) >= 5
    client.delete("sent")


def _written(own: Serving, data: bytes) -> Path:
    path = own.log.parent / "sent.gguf"
    path.write_bytes(data)
    return path


def test_two_text_processes_share_the_answers(own: Serving) -> None:
    asking = {"prompt": "x", "max_tokens": 24, "temperature": 0}

    def text(_: int) -> str:
        told: str = own.post("/v1/completions", **asking).json()["choices"][0]["text"]
        return told

    alone = text(0)
    with ThreadPoolExecutor(8) as askers:
        assert set(askers.map(text, range(24))) == {alone}
    assert len(_text_processes(own)) == 2


def test_who_finds_the_line_full_is_told_so_and_the_rest_is_answered(own: Serving) -> None:
    """A20"""
    texts = ["why is the sky blue? " * 20] * 8
    endless = {"model": own.model, "prompt": "x", "max_tokens": 480, "ignore_eos": True, "stream": True}

    async def asked(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/api/embed", json={"model": own.model, "input": texts})

    async def crowd() -> tuple[list[httpx.Response], str]:
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=own.url, timeout=60, limits=limits) as client,
            client.stream("POST", "/v1/completions", json=endless) as answer,
        ):
            answers = await asyncio.gather(*(asked(client) for _ in range(26)))
            last = [line async for line in answer.aiter_lines() if line][-1]
        return answers, last

    answers, last = asyncio.run(crowd())
    busy = [one for one in answers if one.status_code == 503]
    assert 1 <= len(busy) <= 26 - 17
    assert all(one.json()["error"] == BUSY and int(one.headers["Retry-After"]) > 0 for one in busy)
    assert all(len(one.json()["embeddings"]) == 8 for one in answers if one not in busy)
    assert last == "data: [DONE]"


def test_where_one_of_two_text_processes_dies_the_other_one_answers(own: Serving) -> None:
    before = _text_processes(own)
    before[0].kill()
    assert own.post("/v1/completions", prompt="x", max_tokens=4).status_code == 200
    until(lambda: len(_text_processes(own)) == 2 and before[0].pid not in {one.pid for one in _text_processes(own)}, 60)
    assert own.post("/v1/completions", prompt="x", max_tokens=4).status_code == 200


def _text_processes(own: Serving) -> list[psutil.Process]:
    children = psutil.Process(own.process.pid).children()
    return [one for one in children if one.is_running() and any("text_process" in word for word in _words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


def test_the_log_has_no_folder_in_it(own: Serving) -> None:
    """SV-29"""
    said = own.log.read_text()
    requests = [line for line in said.splitlines() if " /api/" in line or " /v1/" in line]
    assert requests
    assert not [line for line in requests if "zuhause" in line or "gesprächig" in json.dumps(line)]

"""The shelf over HTTP: what is installed, loaded, copied, made and sent, as Ollama's clients expect it."""

import json
import socket
from hashlib import sha256
from pathlib import Path

import httpx
import ollama
import pytest

from unillm.registry.errors import StoreBusy
from unillm.registry.prune import prune
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.hosts import until
from unillm.tests.support.serving import Serving
from unillm.tests.support.talking import talking_model

SAID = [{"role": "user", "content": "Hi"}]


def test_it_says_that_it_runs(server: Serving) -> None:  # A40
    assert server.get("/").text == "Ollama is running"
    assert httpx.head(server.url).status_code == 200
    assert set(server.get("/api/version").json()) == {"version"}


def test_installed_models_are_listed_and_shown(client: ollama.Client, shelved: str) -> None:  # A5, A6
    listed = {one.model: one for one in client.list().models}
    tiny = listed["tiny:latest"]
    assert tiny.modified_at
    assert tiny.size
    assert len(tiny.digest or "") == 64
    details = tiny.details
    assert details
    assert all((details.format, details.family, details.parameter_size, details.quantization_level))
    shown = client.show(shelved)
    assert shown.modified_at
    assert "<|assistant|>" in (shown.template or "")
    assert (shown.modelfile or "").splitlines()[1] == "FROM tiny"
    assert shown.modelinfo
    assert shown.modelinfo["llama.context_length"] == 512
    assert shown.capabilities == ["completion"]


def test_both_lists_of_models_have_the_same_names(server: Serving, shelved: str) -> None:  # A39
    names = {one["name"] for one in server.get("/api/tags").json()["models"]}
    assert names == {one["id"] for one in server.get("/v1/models").json()["data"]}
    assert f"{shelved}:latest" in names


def test_both_dialects_tell_whether_a_model_can_converse(server: Serving, shelved: str, tmp_path: Path) -> None:
    base = talking_model(tmp_path / "base", template="")
    files = {}
    for path in base.iterdir():
        files[path.name] = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
        httpx.post(f"{server.url}/api/blobs/{files[path.name]}", content=path.read_bytes())
    httpx.post(f"{server.url}/api/create", json={"model": "base", "files": files}).raise_for_status()
    listed = {one["id"]: one["capabilities"] for one in server.get("/v1/models").json()["data"]}
    assert listed["base:latest"] == ["completion"]
    assert listed[f"{shelved}:latest"] == listed[server.model] == ["completion", "chat"]
    assert server.post("/api/show", model="base").json()["template"] == ""
    httpx.request("DELETE", f"{server.url}/api/delete", json={"model": "base"})


def test_a_model_is_loaded_listed_and_let_go(client: ollama.Client, shelved: str) -> None:  # A4, A37
    assert client.generate(model=shelved, keep_alive="10m").done_reason == "load"
    loaded = {one.model: one for one in client.ps().models}["tiny:latest"]
    assert loaded.size
    assert loaded.digest
    assert loaded.expires_at
    assert loaded.context_length == 512
    assert client.generate(model=shelved, keep_alive=0).done_reason == "unload"
    assert "tiny:latest" not in {one.model for one in client.ps().models}


def test_a_copy_is_listed_until_it_is_deleted(client: ollama.Client, shelved: str) -> None:  # A43, A47
    client.copy(shelved, "second")
    assert {"tiny:latest", "second:latest"} <= {one.model for one in client.list().models}
    client.delete("second")
    assert "second:latest" not in {one.model for one in client.list().models}
    assert client.show(shelved).details
    with pytest.raises(ollama.ResponseError, match="model 'second' not found") as caught:
        client.delete("second")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match='model "nix" not found'):
        client.copy("nix", "other")


def test_a_model_is_made_of_another(client: ollama.Client, server: Serving, shelved: str) -> None:  # A43
    told = client.create(
        "pirate", from_=shelved, system="Arr", parameters={"temperature": 0.5, "stop": ["x"]}, stream=True
    )
    assert [one.status for one in told][-1] == "success"
    shown = server.post("/api/show", model="pirate").json()
    assert shown["system"] == "Arr"
    assert [line.split() for line in shown["parameters"].splitlines()] == [["stop", '"x"'], ["temperature", "0.5"]]
    client.create("pirate", from_="pirate", system="")
    client.delete("pirate")


def test_a_model_is_made_of_files_that_were_sent(client: ollama.Client, server: Serving) -> None:  # A33
    files = {}
    for path in sorted(server.folder.iterdir()):
        digest = f"sha256:{sha256(path.read_bytes()).hexdigest()}"
        where = f"{server.url}/api/blobs/{digest}"
        assert httpx.head(where).status_code == 404
        assert httpx.post(where, content=path.read_bytes()).status_code == 201
        assert httpx.post(where, content=path.read_bytes()).status_code == 200
        assert httpx.head(where).status_code == 200
        files[path.name] = digest
    client.create("sent", files=files)
    options = {"temperature": 0, "num_predict": 5}
    here = client.generate(model="sent", prompt="Hi", options=options, keep_alive=0).response
    assert here == client.generate(model=server.model, prompt="Hi", options=options).response
    client.delete("sent")


@pytest.mark.parametrize(("asked", "label"), [("Q4_K", "Q4_K_M"), pytest.param("q8_0", "Q8_0", marks=pytest.mark.slow)])
def test_a_model_is_made_in_fewer_bits(client: ollama.Client, merging: str, asked: str, label: str) -> None:  # A34
    made = client.create("smaller", from_=merging, system="Arr", quantize=asked, stream=True)
    told = [one.status for one in made]
    assert told[0] == f"quantizing F32 model to {label}"
    assert [str(one).partition(" sha256:")[0] for one in told[-3:]] == [
        "creating new layer",
        "writing manifest",
        "success",
    ]
    shown = client.show("smaller")
    assert shown.details
    assert (shown.details.format, shown.details.quantization_level) == ("gguf", label)
    assert 'SYSTEM """Arr"""' in (shown.modelfile or "")
    assert client.chat("smaller", SAID, options={"num_predict": 4}, keep_alive=0).eval_count == 4
    with pytest.raises(ollama.ResponseError, match="quantised already"):
        client.create("again", from_="smaller", quantize="q4_0")
    client.delete("smaller")


def test_a_client_that_leaves_ends_what_is_made_for_it_and_until_then_nothing_else_is_quantised(
    server: Serving, merging: str
) -> None:
    none = {"model": "left", "from": "none", "quantize": "q8_0", "stream": False}
    for streamed in (True, False):
        asked = {"model": "left", "from": merging, "quantize": "q8_0", "stream": streamed}
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as line:
            body = json.dumps(asked).encode()
            head = f"POST /api/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body)
            until(lambda: _being_made(server) == 1, 30)
            second = httpx.post(f"{server.url}/api/create", json=asked, timeout=30)
            assert (second.status_code, second.json()["error"]) == (503, "another model is being quantised")
            assert int(second.headers["Retry-After"]) > 0
        until(lambda: httpx.post(f"{server.url}/api/create", json=none, timeout=30).status_code != 503, 30)
        assert _being_made(server) == 0
    assert "left:latest" not in {one["name"] for one in server.get("/api/tags").json()["models"]}


def test_a_file_that_is_being_sent_is_left_alone_by_who_prunes(server: Serving) -> None:
    home = server.log.parent
    settings = RegistrySettings.from_environment({"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf")})
    digest = sha256(b"whole").hexdigest()
    head = f"POST /api/blobs/sha256:{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port)) as line:
        line.sendall(head.encode() + b"who")
        until(lambda: bool(list((home / "partial").glob("upload-*"))), 30)
        with pytest.raises(StoreBusy):
            prune(settings, partial=True)
        line.sendall(b"le")
        assert line.recv(1000).startswith(b"HTTP/1.1 201")
    assert f"sha256-{digest}" in [path.name for path in prune(settings).files]


def _being_made(server: Serving) -> int:
    return len(list((server.log.parent / "partial").glob("making-*")))


def test_a_file_with_another_checksum_is_refused(server: Serving) -> None:
    wrong, right = f"sha256:{'0' * 64}", f"sha256:{sha256(b'x').hexdigest()}"
    answer = httpx.post(f"{server.url}/api/blobs/{wrong}", content=b"x")
    assert (answer.status_code, answer.json()["error"]) == (400, f'digest mismatch, expected "{wrong}", got "{right}"')
    assert httpx.head(f"{server.url}/api/blobs/{wrong}").status_code == 404
    assert httpx.post(f"{server.url}/api/blobs/sha256:..", content=b"x").status_code == 400


@pytest.mark.usefixtures("shelved")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"from": "/etc"}, "from is a path; it must be a model's name"),
        (
            {"from": "tiny", "quantize": "q9"},
            "unsupported quantization type 'q9': quantize must be one of F16, BF16, Q4_0",
        ),
        ({"from": "/etc", "quantize": "q8_0"}, "from is a path; it must be a model's name"),
        ({"from": "tiny", "parameters": {"temperature": -1}}, "temperature"),
        ({"from": "tiny", "parameters": {"warmth": 1}}, "'warmth' is not a parameter"),
        ({"from": "tiny", "template": "{% if"}, "template"),
        ({"files": {"model.gguf": "nonsense"}}, "invalid digest format: 'nonsense'"),
        ({"files": {"model.gguf": f"sha256:{'0' * 64}"}, "stream": False}, "was sent"),
    ],
)
def test_what_makes_no_model_is_refused(server: Serving, body: dict[str, object], message: str) -> None:
    answer = httpx.post(f"{server.url}/api/create", json={"model": "odd", **body})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_who_makes_a_model_of_what_was_not_sent_is_told_how_to_send_it(server: Serving) -> None:
    body = {"model": "odd", "files": {"model.gguf": f"sha256:{'0' * 64}"}}
    told = httpx.post(f"{server.url}/api/create", json=body).json()
    assert (told["kind"], told["hint"]) == ("invalid", f"send it first: POST /api/blobs/sha256:{'0' * 64}")


def test_a_file_that_was_sent_and_is_no_model_is_refused_by_its_name_and_by_no_path(server: Serving) -> None:
    digest = sha256(b"GGUFxxxx").hexdigest()
    assert httpx.post(f"{server.url}/api/blobs/sha256:{digest}", content=b"GGUFxxxx").status_code == 201
    body = {"model": "odd", "files": {"model.gguf": f"sha256:{digest}"}, "stream": False}
    answer = httpx.post(f"{server.url}/api/create", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"sha256-{digest}: version")


def test_a_pull_that_fails_says_so_in_its_stream(server: Serving) -> None:
    streamed = httpx.post(f"{server.url}/api/pull", json={"model": "no-such-model"})
    told = "pull model manifest: file does not exist: no model is called no-such-model"
    assert (streamed.status_code, streamed.json()["error"], streamed.json()["kind"]) == (200, told, "not_found")
    assert httpx.post(f"{server.url}/api/pull", json={"model": "no-such-model", "stream": False}).status_code == 404
    assert httpx.post(f"{server.url}/api/pull", json={"model": "./folder"}).status_code == 400


def test_a_model_whose_template_knows_thinking_thinks_when_asked(server: Serving, shelved: str) -> None:
    template = (
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}<|assistant|>"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    httpx.post(f"{server.url}/api/create", json={"model": "thinker", "from": shelved, "template": template})
    assert "thinking" in server.post("/api/show", model="thinker").json()["capabilities"]
    asked = {"model": "thinker", "messages": [{"role": "user", "content": "x"}], "_debug_render_only": True}
    prompts = [
        server.post("/api/chat", **asked, think=think).json()["_debug_info"]["rendered_template"]
        for think in (True, False, "high")
    ]
    assert prompts == [f"<|user|>x</s><|assistant|>{end}" for end in ("", "<think></think>", "")]
    httpx.request("DELETE", f"{server.url}/api/delete", json={"model": "thinker"})

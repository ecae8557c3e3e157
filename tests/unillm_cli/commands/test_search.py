"""`unillm search`: what it prints, with a hub and without."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from unillm.tests.support.fake_hub import FakeHub
from unillm.tests.unillm_cli.doors import Ran, run

FOUND = [
    {"id": "org/llama", "downloads": 1234, "tags": ["safetensors"], "config": {"architectures": ["LlamaForCausalLM"]}},
    {"id": "org/odd", "downloads": 2, "tags": ["safetensors"], "config": {"architectures": ["OddForCausalLM"]}},
    {"id": "org/mute"},
]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub().running() as hub:
        hub.searched = FOUND
        yield hub


@pytest.fixture
def environ(tmp_path: Path, hub: FakeHub) -> dict[str, str]:
    return {"UNILLM_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint}


def search(environ: dict[str, str], *args: str) -> Ran:
    return run("search", *args, environ=environ)


def test_models_are_listed_with_whether_they_run(environ: dict[str, str]) -> None:
    ran = search(environ, "llama", "--limit", "30")
    assert ran.code == 0
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    assert rows["NAME"].split()[-1] == "RUNS"
    assert rows["org/llama"].split()[-4:] == ["-", "1,234", "-", "yes"]
    assert rows["org/odd"].endswith("no: OddForCausalLM")
    assert rows["org/mute"].endswith("?")
    assert rows["llama3:8b"].endswith("yes")
    assert list(rows).index("llama3:8b") < list(rows).index("org/llama")


def test_json_has_everything(environ: dict[str, str]) -> None:
    found = json.loads(search(environ, "no", "short", "name", "--json").out)
    assert found["query"] == "no short name"
    assert found["hub_error"] is None
    assert [(one["name"], one["supported"]) for one in found["models"]] == [
        ("org/llama", True),
        ("org/odd", False),
        ("org/mute", None),
    ]


def test_a_limit_is_kept(environ: dict[str, str]) -> None:
    assert len(json.loads(search(environ, "llama", "--limit", "4", "--json").out)["models"]) == 4
    assert search(environ, "llama", "--limit", "0").code == 2


def test_without_a_hub_the_short_names_answer_and_say_so(environ: dict[str, str]) -> None:
    ran = search({**environ, "HF_ENDPOINT": "http://127.0.0.1:9"}, "smollm2")
    assert ran.code == 0
    assert "smollm2:135m" in ran.out
    assert "these are short names only: the hub at http://127.0.0.1:9 is out of reach" in ran.err
    offline = search(environ, "smollm2", "--offline")
    assert offline.code == 0
    assert "these are short names only: nothing is fetched in offline mode" in offline.err


def test_nothing_to_tell_without_a_hub_is_a_network_error(environ: dict[str, str]) -> None:
    assert search({**environ, "HF_ENDPOINT": "http://127.0.0.1:9"}, "no-such-model").code == 5
    assert search(environ, "no-such-model", "--offline").code == 5


def test_a_search_needs_words(environ: dict[str, str]) -> None:
    assert search(environ).code == 2

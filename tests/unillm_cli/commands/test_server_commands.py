"""`generate`, `ps`, `stop`, `pin` and `unpin` with a running server, and without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from unillm import Client, Engine
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.serving import Serving, free_port, serving
from unillm.tests.support.talking import talking_model
from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli.errors import Exit


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    with serving(talking_model(folder / "tiny"), folder / "home", ("--keep-alive", "-1")) as server:
        yield server


def test_generate_says_the_same_by_a_server_as_alone(served: Serving, tmp_path: Path) -> None:
    asked = ("generate", "Hi", "--temperature", "0", "--max-tokens", "9")
    there = run(*asked, "--model", served.model, "--host", served.url)
    alone = run(*asked, "--model", str(served.folder), environ={"UNILLM_HOME": str(tmp_path)})
    assert (there.code, alone.code) == (Exit.OK, Exit.OK), there.err + alone.err
    assert there.out == alone.out


def test_the_variable_names_the_server_and_json_tells_of_the_answer(served: Serving) -> None:
    ran = run("generate", "Hi", "-m", served.model, "-n", "3", "--json", environ={"UNILLM_HOST": served.url})
    told = json.loads(ran.out)
    assert (told["model"], told["eval_count"], told["done_reason"]) == (served.model, 3, "length")


def test_what_is_loaded_is_listed_pinned_and_stopped(served: Serving) -> None:
    at = ("--host", served.url)
    assert run("pin", served.model, *at).err == f"pinned {served.model}\n"
    assert [one["pinned"] for one in json.loads(run("ps", "--json", *at).out)["models"]] == [True]
    assert run("ps", *at).out.splitlines()[1].endswith("pinned")
    assert run("unpin", served.model, *at).code == Exit.OK
    assert run("ps", *at).out.splitlines()[1].endswith("for ever")
    assert run("stop", served.model, *at).err == f"stopped {served.model}\n"
    assert json.loads(run("ps", "--json", *at).out)["models"] == []


def test_a_model_that_a_server_does_not_have_is_an_error(served: Serving) -> None:
    ran = run("generate", "Hi", "-m", "no-such-model", "--host", served.url)
    assert ran.code == Exit.NOT_FOUND
    assert "no-such-model" in ran.err


@pytest.mark.parametrize("command", [("stop", "x"), ("pin", "x"), ("unpin", "x"), ("ps",), ("generate", "Hi")])
def test_a_server_that_was_named_must_be_there(command: tuple[str, ...]) -> None:
    began = monotonic()
    ran = run(*command, "--host", f"127.0.0.1:{free_port()}")
    assert ran.code == Exit.NETWORK
    assert "no server answers at" in ran.err
    assert monotonic() - began < HANGS


def test_a_flag_for_this_process_excludes_a_server(served: Serving) -> None:
    ran = run("generate", "Hi", "--host", served.url, "--device", "cpu")
    assert (ran.code, "--host and --device exclude each other" in ran.err) == (Exit.USAGE, True)


def test_where_nobody_named_a_server_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unillm.unillm_cli.serving._listens", lambda: False)
    ran = run("ps", "--json")
    assert (ran.code, json.loads(ran.out)) == (Exit.OK, {"server": None, "models": []})
    assert "no server runs here" in ran.err
    assert run("stop", "x").code == Exit.NETWORK


def test_the_shell_talks_by_a_server_as_alone(served: Serving, tmp_path: Path) -> None:
    lines = "Hi\nAnd?\n/tokens\n/retry\n/show info\n/show template\n/models\n/load no-such-model\n/save ../x\n"
    flags = ("-t", "0", "-n", "5")
    places = {"UNILLM_STATE": str(tmp_path / "state"), "UNILLM_HOME": str(tmp_path)}
    there = run("shell", served.model, *flags, "--host", served.url, stdin=lines, environ=places)
    alone = run("shell", str(served.folder), *flags, "--local", stdin=lines, environ=places)
    assert (there.code, alone.code) == (Exit.OK, Exit.OK), there.err + alone.err
    assert "the last answer: " in there.out
    assert before_speeds(there.out) == before_speeds(alone.out)
    assert f"server              {served.url}" in there.out
    assert there.err.count("error: ") == alone.err.count("error: ") == 2


def before_speeds(out: str) -> str:
    """The two answers, and how many tokens the conversation has then."""
    return out.partition("the last answer")[0]


def test_a_count_of_tokens_is_the_same_by_a_server_as_alone(served: Serving) -> None:
    said = [{"role": "user", "content": "Hi"}]
    with Client(served.url) as client, Engine.load(served.folder) as engine:
        assert client.count(said, model=served.model) == engine.count(said)
        assert client.show(served.model).template

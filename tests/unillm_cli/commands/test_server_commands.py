"""`generate`, `ps`, `stop`, `pin` and `unpin` with a running server, and without one."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from unillm import Client, Engine
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.serving import Serving, free_port, serving
from unillm.tests.support.talking import CALLING, talking_model
from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli.errors import Exit


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    bare = talking_model(folder / "bare", template="")
    thinker = talking_model(folder / "thinker", template=CALLING)
    flags = ("--keep-alive", "-1", "--model", str(bare), "--model", str(thinker))
    with serving(talking_model(folder / "tiny"), folder / "home", flags) as server:
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
    assert pinned(at) == {"tiny": True, "bare": False, "thinker": False}
    assert run("ps", *at).out.count("pinned") == 1
    assert run("unpin", served.model, *at).code == Exit.OK
    assert run("ps", *at).out.count("for ever") == 3
    assert run("stop", served.model, *at).err == f"stopped {served.model}\n"
    assert pinned(at) == {"bare": False, "thinker": False}


def pinned(at: tuple[str, ...]) -> dict[str, bool]:
    """The models that are loaded, and whether each is pinned."""
    return {one["name"]: one["pinned"] for one in json.loads(run("ps", "--json", *at).out)["models"]}


def test_a_model_that_a_server_does_not_have_is_an_error(served: Serving) -> None:
    ran = run("generate", "Hi", "-m", "no-such-model", "--host", served.url)
    assert ran.code == Exit.NOT_FOUND
    assert ran.err.startswith("error: no model is called no-such-model\nhint: ")
    ran = run("generate", "Hi", "-m", "org/none", "--host", served.url)
    assert (ran.code, "nothing is fetched in offline mode" in ran.err) == (Exit.NETWORK, True), ran.err


def test_what_is_not_loaded_is_not_there_to_be_stopped(served: Serving) -> None:
    for command in ("stop", "pin", "unpin"):
        ran = run(command, "org/none", "--host", served.url)
        assert (ran.code, ran.err.startswith("error: ")) == (Exit.NOT_FOUND, True)


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
    assert (there.code, alone.code) == (Exit.NOT_FOUND, Exit.NOT_FOUND), there.err + alone.err
    assert "the last answer: " in there.out
    assert before_speeds(there.out) == before_speeds(alone.out)
    assert f"server              {served.url}" in there.out
    assert there.err.count("error: ") == alone.err.count("error: ") == 2


def test_what_was_said_is_saved_as_a_model_also_where_the_model_is_served_from_a_path(
    served: Serving, tmp_path: Path
) -> None:
    lines = "/system Be brief\n/save mine\n/load mine\n/show system\n/show modelfile\n"
    places = {"UNILLM_STATE": str(tmp_path / "state"), "UNILLM_HOME": str(tmp_path)}
    there = run("shell", served.model, "--host", served.url, stdin=lines, environ=places)
    alone = run("shell", str(served.folder), "--local", stdin=lines, environ=places)
    assert (there.code, alone.code) == (Exit.OK, Exit.OK), there.err + alone.err
    assert there.out.splitlines()[:3] == ["Be brief", "# Made by unillm, from what is installed", "FROM mine"]
    assert there.out == alone.out
    run("stop", "mine", "--host", served.url)


def test_a_model_that_cannot_converse_continues_text_by_a_server_as_alone(served: Serving, tmp_path: Path) -> None:
    places = {"UNILLM_STATE": str(tmp_path / "state"), "UNILLM_HOME": str(tmp_path)}
    flags = ("-t", "0", "-n", "5")
    there = run("shell", "bare", *flags, "--host", served.url, stdin="Once\nTwice\n", environ=places)
    bare = served.folder.with_name("bare")
    alone = run("shell", str(bare), *flags, "--local", stdin="Once\nTwice\n", environ=places)
    assert (there.code, there.out) == (alone.code, alone.out) == (Exit.OK, alone.out), there.err + alone.err
    asked = ("generate", "Once", *flags)
    told = run(*asked, "--model", "bare", "--host", served.url), run(*asked, "--model", str(bare), environ=places)
    assert told[0].out == told[1].out == alone.out.partition("\n")[0] + "\n"


def test_a_model_without_thoughts_is_not_told_to_think(served: Serving) -> None:
    asked = ("generate", "Hi", "-n", "3", "-m", "tiny", "--host", served.url)
    for flags in (["--think"], ["--effort", "low"]):
        ran = run(*asked, *flags)
        assert (ran.code, ran.out) == (Exit.USAGE, "")
        assert ran.err.startswith("error: tiny does not think")
    assert run(*asked, "--no-think").code == Exit.OK


def test_a_model_thinks_by_a_server_as_alone(served: Serving, tmp_path: Path) -> None:
    asked = ("generate", "Hi", "-t", "0", "-n", "5", "--json", "--think")
    there = run(*asked, "-m", "thinker", "--host", served.url)
    alone = run(*asked, "-m", str(served.folder.with_name("thinker")), environ={"UNILLM_HOME": str(tmp_path)})
    told, said = json.loads(there.out), json.loads(alone.out)
    assert (told["thinking"], told["response"]) == (said["thinking"], "")
    assert "thinking" not in json.loads(run(*asked, "--hide-thinking", "-m", "thinker", "--host", served.url).out)


def test_a_schema_is_tried_when_it_is_set(served: Serving, tmp_path: Path) -> None:
    lines = '/schema {"type": "nothing"}\n/schema\n/schema {"type": "boolean"}\n/schema\n'
    places = {"UNILLM_STATE": str(tmp_path / "state"), "UNILLM_HOME": str(tmp_path)}
    there = run("shell", served.model, "--host", served.url, stdin=lines, environ=places)
    alone = run("shell", str(served.folder), "--local", stdin=lines, environ=places)
    assert there.out == alone.out == 'no schema is set\n{"type": "boolean"}\n'
    assert (there.code, alone.code) == (Exit.USAGE, Exit.USAGE)
    for ran in (there, alone):
        assert "schema" in ran.err
        assert ran.err.count("error: ") == 1


def before_speeds(out: str) -> str:
    """The two answers, and how many tokens the conversation has then."""
    return out.partition("the last answer")[0]


def test_a_count_of_tokens_is_the_same_by_a_server_as_alone(served: Serving) -> None:
    said = [{"role": "user", "content": "Hi"}]
    with Client(served.url) as client, Engine.load(served.folder) as engine:
        assert client.count(said, model=served.model) == engine.count(said)
        assert client.show(served.model).template

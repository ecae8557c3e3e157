"""`unillm config show`: every setting, and where it was set."""

import json
from pathlib import Path

from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli.settings import KEYS


def test_every_setting_is_shown_with_where_it_was_set(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('model = "qwen3:0.6b"\ncontext = 4096\n')
    environ = {"UNILLM_CONFIG": str(file), "UNILLM_CONTEXT": "512"}
    told = json.loads(run("config", "show", "--json", environ=environ).out)
    found = {one["name"]: (one["value"], one["origin"]) for one in told["settings"]}
    assert list(found) == list(KEYS)
    assert found["model"] == ("qwen3:0.6b", f"{file}: model")
    assert found["context"] == (512, "UNILLM_CONTEXT")
    assert found["offline"] == (False, "default")
    assert told["file"] == str(file)


def test_people_read_a_table() -> None:
    plain = run("config", "show").out.splitlines()
    assert plain[0].split() == ["SETTING", "VALUE"]
    assert [line.split() for line in plain if line.startswith("device")] == [["device", "auto"]]
    assert run("config").out.splitlines() == plain
    named = run("config", "show", "--origin", environ={"UNILLM_DEVICE": "cpu"}).out
    assert [line.split() for line in named.splitlines() if line.startswith("device")] == [
        ["device", "cpu", "UNILLM_DEVICE"]
    ]


def test_a_setting_that_cannot_be_is_named() -> None:
    ran = run("config", "show", environ={"UNILLM_CONTEXT": "many"})
    assert (ran.code, ran.out) == (2, "")
    assert "UNILLM_CONTEXT" in ran.err
    assert run("config", "delete").code == 2

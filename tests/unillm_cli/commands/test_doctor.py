"""`unillm doctor`: every line with its state, the exit code by the worst of them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from unillm.registry.health import Finding
from unillm.tests.unillm_cli.doors import Ran, run
from unillm.unillm_cli.commands import doctor


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """`unillm doctor` in an empty home, offline, torch spoken for."""
    found = [Finding("torch", "ok", "torch 2"), Finding("kernels", "warn", "none", "install a compiler")]

    def end(_process: "subprocess.Popen[str] | None", _seconds: float) -> list[Finding]:
        return found

    monkeypatch.setattr(doctor, "start_probe", lambda: None)
    monkeypatch.setattr(doctor, "end_probe", end)
    environ = {"UNILLM_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    return lambda *args, **more: run("doctor", *args, environ=environ | more)


def test_every_line_has_a_state_and_trouble_a_next_step(look: Callable[..., Ran]) -> None:
    ran = look()
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "warn  kernels: none" in lines
    assert lines[lines.index("warn  kernels: none") + 1].strip() == "install a compiler"
    assert any(line.startswith("ok    memory: ") for line in lines)
    assert "ok    network: offline mode: nobody is asked" in lines


def test_something_broken_ends_it_with_one(look: Callable[..., Ran], tmp_path: Path) -> None:
    manifests = tmp_path / "home" / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "bad=1b.json").write_text("{")
    ran = look()
    assert ran.code == 1
    assert "fail  bad:1b: " in ran.out
    assert "broken: bad:1b" in ran.err


def test_a_broken_setting_is_a_finding_with_its_place(look: Callable[..., Ran], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("nonsense = 1")
    ran = look(UNILLM_CONFIG=str(config))
    assert ran.code == 1
    assert f"fail  settings: {config}: unknown key 'nonsense'" in ran.out
    assert "Traceback" not in ran.err


def test_json_has_everything(look: Callable[..., Ran]) -> None:
    told = json.loads(look("--json").out)
    assert told["healthy"] is True
    assert told["findings"][1] == {
        "name": "kernels",
        "state": "warn",
        "told": "none",
        "next_step": "install a compiler",
    }

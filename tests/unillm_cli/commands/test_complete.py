"""`unillm complete`: what shells ask for, and never an error that would end up in a command line."""

from pathlib import Path

import pytest

from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.tiny_models import original
from unillm.tests.unillm_cli.doors import run


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"UNILLM_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}


def test_installed_models_and_the_catalogue_are_listed(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "model"
    for name, content in original().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    pull(str(folder), RegistrySettings.from_environment(environ), name="mine:v1")
    code, out, err = run("complete", "models", environ=environ)
    names = out.splitlines()
    assert (code, err) == (0, "")
    assert {"mine:v1", "smollm2:135m", "llama3:8b"} <= set(names)
    assert names == sorted(set(names))


def test_a_broken_model_is_left_out(tmp_path: Path, environ: dict[str, str]) -> None:
    manifests = tmp_path / "home" / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "$(touch x)=latest.json").write_text("{")
    code, out, err = run("complete", "models", environ=environ)
    assert (code, err) == (0, "")
    assert "touch" not in out


def test_what_cannot_be_completed_completes_nothing(environ: dict[str, str]) -> None:
    assert run("complete", "weather", environ=environ) == (0, "", "")


def test_people_do_not_see_it() -> None:
    assert "complete" not in run("--help").out

"""Names from hell, as arguments of every command: a sentence and a code, no traceback, no path by accident."""

from pathlib import Path

import pytest

from unillm.tests.support.tiny_models import original
from unillm.tests.unillm_cli.doors import run

NAMES = [
    "",
    " ",
    ":",
    "a:",
    ":b",
    "a:b:c",
    "a/b/c/d",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "~root",
    "-",
    "a b",
    "a\nb",
    "a\0b",
    "a\x1b[31mb",
    "a\u202eb",
    "ä",
    "a" * 1000,
    "con:latest",
    "C:\\windows",
    "http://evil/x",
    "a@b",
    "a%2e%2e",
    "$(id)",
    "*",
    "sha256:0",
    "-x",
    "--",
    ".",
]
COMMANDS = [["show"], ["rm"], ["cp", "source"], ["pull"], ["generate", "Hi", "--model"], ["shell", "--local"]]
# Where a name is asked for, and a path would be none; NAME stands for it, FOLDER for a place where files may be.
NAMED = [
    "rm -- NAME",
    "export -- NAME FOLDER/a.tar",
    "import FOLDER/source.tar --name NAME",
    "pull FOLDER/model --name NAME",
    "create -f FOLDER/Modelfile -- NAME",
    "cp -- source NAME",
    "cp -- NAME copy",
    "verify -- NAME",
    "lock -f FOLDER/a.lock -- NAME",
]
# Where files of one's own may be named too: they are read where they are.
READING = ["show -- NAME", "run --local -- NAME Hi", "bench -- NAME", "pull -- NAME", "quantize -- NAME"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_no_name_gets_further_than_a_sentence(
    command: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SH-03, SH-09"""
    (below := tmp_path / "folder" / "below").mkdir(parents=True)
    monkeypatch.chdir(below)  # where "..", too, is a folder without a model
    environ = {"UNILLM_HOME": str(tmp_path / "home"), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    ran = run(*command, name, environ=environ)
    assert ran.code in (1, 2, 3, 5), ran
    assert ran.err.startswith("error: ") or "\nerror: " in ran.err
    assert "unexpected" not in ran.err.replace("unexpected extra argument", "")
    assert not set(ran.out + ran.err) & {"\x1b", "\u202e", "\0"}
    assert [str(path) for path in tmp_path.rglob("*.json")] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_name_that_looks_like_an_option_is_a_usage_error(command: list[str]) -> None:
    """SH-09"""
    assert run(*command, "--no-such-option").code == 2


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model, `source`, in a home of its own; beside it what the commands above read."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "model").mkdir()
    for name, data in original().items():
        (folder / "model" / name).write_bytes(data)
    (folder / "Modelfile").write_text("FROM source\n")
    assert run("pull", f"{folder}/model", "--name", "source", environ=environ(folder)).code == 0
    assert run("export", "source", f"{folder}/source.tar", environ=environ(folder)).code == 0
    (folder / "folder" / "below").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "command", [*NAMED[:6], *(pytest.param(one, marks=pytest.mark.slow) for one in (*NAMED[6:], *READING))]
)
def test_what_is_no_name_is_never_a_path(command: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SH-09: nothing is made, changed or removed, in the store or anywhere near it."""
    monkeypatch.chdir(home / "folder" / "below")
    before = files(home)
    for name in set(NAMES) - {"con:latest", "sha256:0"}:  # which may be names
        words = [word.replace("FOLDER", str(home)).replace("NAME", name) for word in command.split()]
        ran = run(*words, environ=environ(home))
        assert ran.code in ((2,) if command in NAMED else (2, 3)), (name, ran)
        assert ran.err.startswith("error: ") or "\nerror: " in ran.err
        assert not set(ran.out + ran.err) & {"\x1b", "\u202e", "\0"}
    assert files(home) == before


def test_a_slip_in_the_name_of_a_model_that_is_here_is_answered_with_that_name(home: Path) -> None:
    for command in (["show", "sourc"], ["rm", "sourc"], ["run", "sourc", "Hi", "--local"]):
        ran = run(*command, environ=environ(home))
        assert (ran.code, "did you mean source?" in ran.err) == (3, True), ran
    assert "no model here is called xyz" in run("models", "xyz", environ=environ(home)).err


def files(folder: Path) -> dict[str, int]:
    """Every file, but for the locks, which may come, with its size."""
    found = (path for path in folder.rglob("*") if path.is_file() and "locks" not in path.parts)
    return {str(path): path.stat().st_size for path in found}


def environ(folder: Path) -> dict[str, str]:
    return {"UNILLM_HOME": f"{folder}/home", "HF_HUB_CACHE": f"{folder}/hub", "HF_HUB_OFFLINE": "1"}

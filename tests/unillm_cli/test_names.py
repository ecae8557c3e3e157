"""Names from hell, as arguments of every command: a sentence and a code, no traceback, no path by accident."""

from pathlib import Path

import pytest

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
]
COMMANDS = [["show"], ["rm"], ["cp", "source"], ["pull"], ["generate", "Hi", "--model"], ["shell", "--local"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_no_name_gets_further_than_a_sentence(
    command: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert run(*command, "--no-such-option").code == 2

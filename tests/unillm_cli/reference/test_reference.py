"""Completions and man pages say what the table of commands says, and are current."""

import shutil
import subprocess
from pathlib import Path

import pytest

from unillm.unillm_cli.app import COMMANDS
from unillm.unillm_cli.reference import architectures
from unillm.unillm_cli.reference.__main__ import files, write
from unillm.unillm_cli.reference.describe import commands

ROOT = Path(__file__).parents[3]
SHOWN = [verb for verb in COMMANDS if not verb.hidden]


def test_the_files_in_the_repository_are_current() -> None:
    stale = [name for name, text in files().items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    assert not stale, "run `make docs`"


def test_the_table_of_models_in_the_readme_is_current() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert architectures.BEGIN in text
    assert architectures.with_table(text) == text, "run `make docs`"


def test_nothing_else_lies_beside_them() -> None:
    there = {f"{folder}/{path.name}" for folder in ("completions", "man") for path in (ROOT / folder).iterdir()}
    assert there == set(files())


def test_writing_leaves_exactly_these_files(tmp_path: Path) -> None:
    for folder in ("completions", "man"):
        (tmp_path / folder).mkdir()
    (tmp_path / "man" / "unillm-gone.1").write_text("a command that is no more")
    write(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == set(files())


def test_every_command_has_a_page_and_a_line_in_the_first_one() -> None:
    pages = files()
    for verb in SHOWN:
        assert f"man/unillm-{verb.name}.1" in pages
        assert verb.summary in pages["man/unillm.1"]


def test_options_have_a_flag_a_help_and_a_metavar_unless_they_are_switches() -> None:
    for command in commands():
        assert command.options, command.name
        assert all(one.help.endswith(".") for one in command.parameters), command.name
        assert all(flag.startswith("-") for one in command.options for flag in one.flags)
        json = next(one for one in command.options if "--json" in one.flags)
        assert json.metavar is None
        assert all(one.metavar for one in command.arguments), command.name


@pytest.mark.parametrize("name", [name for name in files() if name.startswith("man/")])
def test_pages_are_roff_without_complaint(name: str, tmp_path: Path) -> None:
    text = files()[name]
    assert text.startswith('.TH "UNILLM')
    assert all(line.split()[0] in KNOWN_REQUESTS for line in text.splitlines() if line.startswith("."))
    if shutil.which("groff"):
        page = tmp_path / "page.1"
        page.write_text(text)
        ran = subprocess.run(["groff", "-man", "-ww", "-Tascii", str(page)], capture_output=True, text=True, check=True)
        assert ran.stderr == ""


KNOWN_REQUESTS = {".I", ".TH", ".SH", ".PP", ".TP", ".B", ".BR", ".IR", ".RI", ".nf", ".fi"}
